"""Files: sidecar, checksum, and inputs that are broken or hostile."""

import argparse
import contextlib
import json
import pickle

import pytest
import torch
from bundle_runtime.weights.io import read_sidecar, read_state_dict
from bundle_runtime.weights.save import save_encoder
from custom_components.errors import InputError
from encoders import our_vit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file


class RunsCode:
    """Touches a file when unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


@pytest.fixture
def encoder_file(tmp_path):
    return save_encoder(tmp_path / "enc.safetensors", our_vit(), {})


@pytest.mark.parametrize("nested", [None, "model", "state_dict", "network"])
def test_torch_files_are_read_also_when_nested(tmp_path, nested):
    state = our_vit().state_dict()
    content = state if nested is None else {nested: state, "epoch": 3, "args": argparse.Namespace(lr=0.1)}
    torch.save(content, tmp_path / "a.pth")
    found = read_state_dict(tmp_path / "a.pth")
    assert all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize("old_format", [False, True])
def test_pickle_that_wants_to_run_code_is_not_executed(tmp_path, old_format):
    path, marker = tmp_path / "evil.pt", tmp_path / "ran"
    content = {"model": our_vit().state_dict(), "extra": RunsCode(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=not old_format)
    with pytest.raises(InputError, match=r"evil\.pt: holds Python objects that could run code.*not executed"):
        read_state_dict(path)
    path.write_bytes(pickle.dumps(RunsCode(marker), protocol=2))
    with pytest.raises(InputError, match=r"evil\.pt"):
        read_state_dict(path)
    assert not marker.exists()


def test_wrong_checksum_is_refused(encoder_file):
    state = read_state_dict(encoder_file)
    state["norm.bias"] += 1
    save_file(state, encoder_file)
    with pytest.raises(InputError, match=r"enc\.safetensors: sha256 is .*, its sidecar enc\.json says .*copy both"):
        read_state_dict(encoder_file)


def test_truncated_files_are_refused(tmp_path, encoder_file):
    (tmp_path / "enc.json").unlink()
    torch.save(our_vit().state_dict(), tmp_path / "enc.pt")
    for path in (encoder_file, tmp_path / "enc.pt"):
        content = path.read_bytes()
        for size in (0, 5, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:size])
            with pytest.raises(InputError, match=rf"{path.name}: truncated or not a "):
                read_state_dict(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["new.pt", "old.pt", "a.safetensors"]), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)))
)
def test_damaged_bytes_are_read_or_refused_but_never_crash(tmp_path, name, damage):
    state, path = {"a": torch.ones(3), "b": torch.zeros(2, 2)}, tmp_path / name
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=name == "new.pt")
    content = bytearray(path.read_bytes())
    for place, value in damage:
        content[int(place * (len(content) - 1))] = value
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        assert read_state_dict(path)


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_garbage_is_refused(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match=rf"{name}: truncated or not a "):
        read_state_dict(tmp_path / name)


def test_missing_file_folder_and_other_suffix_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.pt: weights file not found"):
        read_state_dict(tmp_path / "none.pt")
    with pytest.raises(InputError, match="weights file not found"):
        read_state_dict(tmp_path)
    (tmp_path / "a.onnx").write_text("x")
    with pytest.raises(InputError, match=r"a\.onnx: suffix \.onnx is not a weights file; expected one of"):
        read_state_dict(tmp_path / "a.onnx")


def test_file_without_tensors_is_refused(tmp_path):
    for content in ({"epoch": 3}, [1, 2], {"model": {}}):
        torch.save(content, tmp_path / "a.pt")
        with pytest.raises(InputError, match=r"a\.pt: holds no tensors"):
            read_state_dict(tmp_path / "a.pt")


def test_broken_sidecar_is_refused(encoder_file, tmp_path):
    (tmp_path / "enc.json").write_text("{")
    with pytest.raises(InputError, match=r"enc\.json: is not valid JSON"):
        read_sidecar(encoder_file)
    (tmp_path / "enc.json").write_text(json.dumps([1]))
    with pytest.raises(InputError, match=r"enc\.json: holds a list, expected a JSON object"):
        read_sidecar(encoder_file)
    (tmp_path / "enc.json").unlink()
    assert read_sidecar(encoder_file) is None
    assert read_state_dict(encoder_file)
