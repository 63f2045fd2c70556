import os
import subprocess
import sys

import pytest
from bundle_runtime.failures import find_input_error, machine_sentence, sentence_of
from custom_components.errors import InputError

PROGRAM = """
from custom_components.errors import InputError
from bundle_runtime.failures import install_excepthook
install_excepthook()
def load():
    {action}
try:
    load()
except Exception as error:
    raise RuntimeError("Failed to instantiate component") from error
"""


def run(action: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.format(action=action)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **variables})


def test_one_sentence_however_deeply_wrapped() -> None:
    result = run("raise InputError('a.nii.gz is truncated.')")
    assert result.returncode == 1
    assert result.stderr == "Error: a.nii.gz is truncated.\n"


@pytest.mark.parametrize(("console", "shown"), [("utf-8", "ü \\udcfc"), ("ascii", "\\xfc \\udcfc")])
def test_what_a_console_cannot_show_does_not_end_the_run(console: str, shown: str) -> None:
    result = run("print('\\u00fc', '\\udcfc')", PYTHONIOENCODING=f"{console}:strict")
    assert (result.returncode, result.stdout) == (0, f"{shown}\n")


def test_other_errors_keep_their_traceback() -> None:
    result = run("1 / 0")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "ZeroDivisionError" in result.stderr


def test_a_target_that_is_not_there_is_named() -> None:
    parser = "ConfigParser({'n': {'_target_': 'my_masks.Net'}})"
    action = f"from monai.bundle import ConfigParser; {parser}.get_parsed_content('n')"
    result = run(action)
    assert result.returncode == 1
    sentence = "Error: A config has the _target_ 'my_masks.Net', which is not there; correct the name."
    assert result.stderr.splitlines()[-1] == sentence
    assert "Traceback" not in result.stderr


def test_an_error_sent_on_by_a_loader_process_is_cut_to_its_sentence() -> None:
    text = (
        "Caught InputError in DataLoader worker process 0.\\nTraceback\\ncustom_components.errors.InputError: b is bad."
    )
    assert run(f"raise InputError('''{text}''')").stderr == "Error: b is bad.\n"


def test_chains_that_loop_end() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert find_input_error(first) is None
    second.__cause__ = InputError("x")
    assert str(find_input_error(first)) == "x"


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (
            "raise OSError(28, 'No space left on device', 'x/y.csv')",
            "x/y.csv cannot be used (No space left on device); make space there, or",
        ),
        (
            "raise PermissionError(13, 'Permission denied', 'a.nii')",
            "a.nii cannot be used (Permission denied); see that an",
        ),
        ("open('/dev/null/below', 'w')", "/dev/null/below cannot be used (Not a directory)"),
        ("import pathlib; pathlib.Path('/proc/x/y').mkdir(parents=True)", "/proc/x cannot be used (No such file or"),
        ("import os; os.makedirs('a' * 300)", f"{'a' * 300} cannot be used (File name too long)"),
        ("raise MemoryError()", "Memory ran out; take fewer --num_workers"),
        ("raise RuntimeError('DataLoader worker (pid 3) is killed by signal')", "A loader process was killed"),
        ("raise RuntimeError('unable to write to file </torch_3_1>: No space left (28)')", "--ipc=host"),
        ("import torch; raise torch.OutOfMemoryError('CUDA out of memory. Tried')", "The GPU has too little memory"),
        ("raise RuntimeError('DefaultCPUAllocator: can\\'t allocate memory: 9 bytes')", "Memory ran out"),
    ],
)
def test_what_the_machine_lacks_is_a_sentence_with_advice(action: str, said: str) -> None:
    result = run(action)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert said in line
    assert "--" in line


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("out of resource: shared memory, Required: 147456, Hardware limit: 101376", False),
        ("unable to open shared memory object </torch_1> in read-write mode", True),
        ("unable to allocate shared memory(shm) for file </torch_1>: Resource temporarily unavailable", True),
        ("Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm).", True),
        ("It is possible that dataloader's workers are out of shared memory. Please try to raise the limit.", True),
    ],
)
def test_which_shared_memory_is_meant(text: str, meant: bool) -> None:
    said = machine_sentence(RuntimeError(text))
    assert (said is not None and "--shm-size" in said) is meant


def test_the_first_cause_is_told() -> None:
    wrapped = RuntimeError("applying transform <Compose object at 0x7f>")
    wrapped.__cause__ = KeyError("spacing")
    assert sentence_of(wrapped) == "KeyError: 'spacing'"
