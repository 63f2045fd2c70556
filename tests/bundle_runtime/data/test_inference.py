"""What inference runs share: a bad case is listed and the others run."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runtime.data.inference import CaseDataset, CaseLoader, EvaluatedCases, InferenceInputs
from bundle_runtime.data.inputs import Inputs
from bundle_runtime.data.load_volumes import LoadVolumesd
from bundle_runtime.scores.collect import Predictions
from custom_components.errors import InputError
from ignite.engine import Events
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, Lambdad, Transform
from torch.utils.data import DataLoader, Dataset


def volumes(folder: Path, *names: str) -> None:
    for name in names:
        data = np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32)
        nib.save(nib.Nifti1Image(data, np.eye(4)), folder / f"{name}.nii.gz")


def run(inputs: Inputs, network: Any = None, num_workers: int = 0, steps: Any = ()) -> list[str]:
    """The cases that got through an inference."""
    done: list[str] = []
    dataset = CaseDataset(inputs.items, Compose([LoadVolumesd("image"), *steps]))
    evaluator = SupervisedEvaluator(
        "cpu", CaseLoader(dataset, num_workers=num_workers), torch.nn.Identity(), iteration_update=inputs.iteration
    )

    def infer(image: torch.Tensor, _: Any) -> torch.Tensor:
        result = image if network is None else network(image)
        done.append(evaluator.state.batch["case"][0])
        return result

    evaluator.inferer = infer
    evaluator.run()
    return done


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_case_that_cannot_be_read_does_not_stop_the_others(
    tmp_path: Path, num_workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    volumes(tmp_path, "a", "b", "c")
    (tmp_path / "b.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes()[:200])
    nib.save(nib.Nifti1Image(np.zeros((6, 5, 4, 2), np.float32), np.eye(4)), tmp_path / "d.nii")
    inputs = Inputs(str(tmp_path), output_dir=str(tmp_path / "out"))
    assert run(inputs, num_workers=num_workers) == ["a", "c"]
    with pytest.raises(InputError, match=r"2 of 4 images could not be used: .*b\.nii\.gz: is trunc.*d\.nii: is 4-D"):
        inputs.finish()
    assert "Written: 2 label map(s)" in capsys.readouterr().out
    rows = json.loads((tmp_path / "out" / "failures.json").read_text())
    assert [Path(row["file"]).name for row in rows] == ["b.nii.gz", "d.nii"]
    assert "python -m" not in rows[0]["problem"]


class Killed(Transform):
    """The process that gets to some case is killed, as by a system that is out of memory."""

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["case"] in "bd":
            os.kill(os.getpid(), signal.SIGKILL)
        return item


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_killed_loader_process_costs_its_case_alone(tmp_path: Path, num_workers: int) -> None:
    volumes(tmp_path, *"abcde")
    inputs = Inputs(str(tmp_path), output_dir=str(tmp_path / "out"))
    assert run(inputs, num_workers=num_workers, steps=[Killed()]) == ["a", "c", "e"]
    with pytest.raises(InputError, match=r"2 of 5 images could not be used: .*b\.nii\.gz: A loader process was killed"):
        inputs.finish()


def test_a_process_killed_while_the_network_is_at_another_case_costs_its_own_case(tmp_path: Path) -> None:
    """The signal of its death must not end the work on the case that is in the network."""
    volumes(tmp_path, *"abc")
    inputs = Inputs(str(tmp_path), output_dir=str(tmp_path / "out"))

    started = tmp_path / "started"

    def network(image: torch.Tensor) -> torch.Tensor:
        started.touch()
        time.sleep(0.5)  # the process that reads b dies meanwhile
        return image

    def wait(item: dict[str, Any]) -> dict[str, Any]:
        while item["case"] == "b" and not started.exists():
            time.sleep(0.01)
        return item

    handler = signal.getsignal(signal.SIGCHLD)
    assert run(inputs, network, num_workers=2, steps=[wait, Killed()]) == ["a", "c"]
    assert handler is signal.SIG_DFL or signal.getsignal(signal.SIGCHLD) is handler
    assert [problem.case for problem in inputs.problems] == ["b"]


def test_a_case_that_fails_on_the_way_does_not_stop_the_others(tmp_path: Path) -> None:
    volumes(tmp_path, "a", "b", "c")
    inputs = Inputs(str(tmp_path), output_dir=str(tmp_path / "out"))
    seen: list[int] = []

    def network(image: torch.Tensor) -> torch.Tensor:
        seen.append(1)
        if len(seen) == 2:
            raise MemoryError("too large")
        return image

    assert run(inputs, network) == ["a", "c"]
    with pytest.raises(InputError, match=r"1 of 3 images could not be used: .*b\.nii\.gz.*Memory ran out; take fewer"):
        inputs.finish()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_that_says_nothing_of_a_case_gives_no_result(tmp_path: Path, value: float) -> None:
    """Its class map would look like any other."""
    volumes(tmp_path, "a", "b", "c")
    inputs = Inputs(str(tmp_path), output_dir=str(tmp_path / "out"))
    handled: list[str] = []

    def network(image: torch.Tensor) -> torch.Tensor:
        handled.append("")
        image = image.half()
        if len(handled) == 2:
            image[..., 3, 2, 1] = value
        return image

    run(inputs, network)
    with pytest.raises(InputError, match=r"1 of 3 images could not be used: .*b\.nii\.gz.*output is not finite; check"):
        inputs.finish()


class Pictures(Dataset):
    """Seven pictures of one pixel, their number, as an `ImageDataset` gives batches."""

    data = tuple({"case": f"c{number}", "file": f"/d/{number}.png"} for number in range(7))

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"image": torch.full((1,), float(index)), "index": torch.tensor(index), "label": torch.tensor(index % 2)}


def classify(inputs: InferenceInputs, network: Any, label: bool = True) -> Predictions:
    """What handlers take in of a classifier's run over batches of 4 and 3."""
    taken = Predictions()
    evaluator = SupervisedEvaluator(
        "cpu", DataLoader(Pictures(), batch_size=4), torch.nn.Identity(), iteration_update=inputs.iteration,
        prepare_batch=lambda batch, *_, **__: (batch["image"], batch["label"] if label else None), decollate=False,
    )  # fmt: skip
    evaluator.inferer = lambda image, _: network(image)
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, taken.add)
    evaluator.run()
    return taken


def test_an_image_of_a_batch_on_which_the_network_fails_costs_itself_alone(tmp_path: Path) -> None:
    def network(image: torch.Tensor) -> torch.Tensor:
        if len(image) == 3:
            raise torch.OutOfMemoryError("of three together")
        if 2 in image:
            raise ValueError("no kernel")
        return torch.cat([image, image.where(image != 5, torch.nan)], 1)

    inputs = InferenceInputs(tmp_path)
    index, logits, labels = classify(inputs, network).gather()
    assert index.tolist() == [0, 1, 3, 4, 6]
    assert logits.tolist() == [[number] * 2 for number in index]
    assert labels.tolist() == [0, 1, 1, 0, 0]
    assert [(problem.case, problem.file) for problem in inputs.problems] == [("c2", "/d/2.png"), ("c5", "/d/5.png")]
    assert "it could not be classified (ValueError: no kernel)" in inputs.problems[0].message
    assert "output is not finite" in inputs.problems[1].message


def test_batches_of_which_nothing_is_left_give_handlers_nothing(tmp_path: Path) -> None:
    def network(image: torch.Tensor) -> torch.Tensor:
        if image.min() < 4:
            raise ValueError("no kernel")
        return image.repeat(1, 2)

    inputs = EvaluatedCases(output_dir=tmp_path)
    assert classify(inputs, network).gather()[0].tolist() == [4, 5, 6]
    assert [problem.case for problem in inputs.problems] == ["c0", "c1", "c2", "c3"]


def test_a_transform_that_fails_is_listed_too(tmp_path: Path) -> None:
    volumes(tmp_path, "a", "b")

    def broken(image: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError("no spacing")

    inputs = Inputs(str(tmp_path), output_dir=str(tmp_path / "out"))
    assert run(inputs, steps=[Lambdad("image", broken)]) == []
    with pytest.raises(InputError, match=r"2 of 2 images could not be used: .*it could not be prepared"):
        inputs.finish()


def test_earlier_failures_go_and_many_make_a_short_sentence(tmp_path: Path) -> None:
    (tmp_path / "failures.json").write_text("[]")
    inputs = InferenceInputs(tmp_path)
    assert not (tmp_path / "failures.json").exists()
    inputs.finish()
    inputs.count = 9
    for number in range(7):
        inputs.set_aside(str(number), f"{number}.png", "is empty")
    with pytest.raises(InputError, match=r"7 of 9 images could not be used: 0\.png: is empty; .*; and 2 more\. Listed"):
        inputs.finish()
    assert len(json.loads((tmp_path / "failures.json").read_text())) == 7


def test_the_cases_of_an_evaluation_go_on_without_one_that_fails(tmp_path: Path) -> None:
    volumes(tmp_path, *"abc")
    (tmp_path / "b.nii.gz").write_bytes(b"")
    items = [{"image": str(tmp_path / f"{name}.nii.gz"), "file": str(tmp_path / f"{name}.nii.gz"), "case": name}
             for name in "abc"]  # fmt: skip
    inputs: Any = EvaluatedCases(tmp_path / "out", items)
    inputs.items = items
    header = {"failed": inputs.problems}  # as the configs have it: what fails later stands in it

    def network(image: torch.Tensor) -> torch.Tensor:
        if len(header["failed"]) == 1:
            raise RuntimeError("no kernel")
        return image

    assert run(inputs, network) == ["a"]
    assert [problem.case for problem in header["failed"]] == ["b", "c"]
    with pytest.raises(InputError, match=r"2 of 3 cases could not be used: .*b\.nii\.gz"):
        inputs.finish()
    assert len(json.loads((tmp_path / "out" / "failures.json").read_text())) == 2
