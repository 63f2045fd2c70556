import subprocess
import sys

from custom_components.errors import InputError, find_input_error

PROGRAM = """
from custom_components.errors import InputError, install_excepthook
install_excepthook()
def load():
    {action}
try:
    load()
except Exception as error:
    raise RuntimeError("Failed to instantiate component") from error
"""


def run(action: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.format(action=action)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_one_sentence_however_deeply_wrapped() -> None:
    result = run("raise InputError('a.nii.gz is truncated.')")
    assert result.returncode == 1
    assert result.stderr == "Error: a.nii.gz is truncated.\n"


def test_other_errors_keep_their_traceback() -> None:
    result = run("1 / 0")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "ZeroDivisionError" in result.stderr


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
