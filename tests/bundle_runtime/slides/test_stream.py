import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runtime.data.image_prepare import Recipe
from bundle_runtime.data.inference import CaseLoader
from bundle_runtime.data.picture_looks import summed_up
from bundle_runtime.data.record import Images, Record
from bundle_runtime.data.verify_pictures import look_of
from bundle_runtime.slides.stream import Plan, SlideInputs, SlideTiles, check_resolution, check_targets
from custom_components.errors import InputError
from slide_files import damage, pyramid, with_tissue


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, boxes in (("a", [(128, 128, 256, 256)]), ("b", []), ("c", [(0, 0, 128, 512)])):
        pyramid(tmp_path / "in" / f"{name}.tif", with_tissue(512, boxes), mpp=4.0)
    return tmp_path / "in"


def inputs(folder: Path, **settings: object) -> SlideInputs:
    values = {"tile_size": 32, "mpp": 4.0, **settings}
    return SlideInputs(str(folder), str(folder.parent / "out"), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_tile_comes_once_with_its_pixels(folder: Path, num_workers: int, capsys: pytest.CaptureFixture) -> None:
    found = inputs(folder)
    assert "b.tif: no tissue was found" in capsys.readouterr().out
    seen: dict[int, list[int]] = {0: [], 1: [], 2: []}
    pictures = {0: with_tissue(512), 2: with_tissue(512, [(0, 0, 128, 512)])}
    dataset = SlideTiles(found, 10)
    dataset[0]  # now the main process has a handle, which forked workers must not use
    for batch in CaseLoader(dataset, num_workers, batched=True):
        number = batch["slide"]
        seen[number] += batch["index"].tolist()
        assert batch["problem"] == ""
        assert batch["image"].dtype == torch.uint8
        assert batch["random"].shape == (len(batch["image"]), 0)
        for tile, pixels in zip(batch["index"].tolist(), batch["image"], strict=True):
            if tile >= 0:
                row, column = (int(value) for value in found.plans[number].grid.corner(tile))
                expected = pictures[number][row : row + 32, column : column + 32]
                assert np.array_equal(pixels.permute(1, 2, 0).numpy(), expected)
    assert seen[0] == list(range(64))
    assert seen[1] == [-1]
    assert seen[2] == list(range(64))


def test_tiles_are_prepared_as_for_the_training(folder: Path) -> None:
    recipe = Recipe(16, channels=3, equalise="none", fit="crop")
    dataset = SlideTiles(inputs(folder), 4, recipe)
    plain = SlideTiles(inputs(folder), 4)[0]["image"]
    expected = torch.from_numpy(np.stack([recipe.apply(tile.numpy()) for tile in plain]))
    assert torch.equal(dataset[0]["image"], expected)
    assert dataset[16]["index"].tolist() == [-1]  # slide b
    assert dataset[16]["image"].shape == (1, 3, 16, 16)


def test_a_slide_that_breaks_off_is_told_and_the_others_go_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bundle_runtime.slides.grid.OVERVIEW", 128)  # from the coarse level, which is whole
    damage(folder / "a.tif", 0, 2 * 8 + 3)
    found = inputs(folder)
    batches = list(CaseLoader(SlideTiles(found, 10), batched=True))
    problems = {batch["slide"]: batch["problem"] for batch in batches if batch["problem"]}
    assert list(problems) == [0]
    assert "level 0 is damaged" in problems[0]
    assert sum(len(batch["index"]) for batch in batches if batch["slide"] == 2) == 64


@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize("failure", ["killed", "memory"])
def test_whatever_a_slide_fails_by_the_others_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, num_workers: int, failure: str
) -> None:
    if failure == "killed" and not num_workers:
        return
    found = inputs(folder)
    read = SlideTiles._read

    def fail(self: SlideTiles, number: int, plan: Plan, tile: int) -> np.ndarray:
        if plan.entry.slide == "a" and tile == 25:
            if failure == "memory":
                raise MemoryError
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, number, plan, tile)

    monkeypatch.setattr(SlideTiles, "_read", fail)
    batches = list(CaseLoader(SlideTiles(found, 10), num_workers, batched=True))
    assert [batch["slide"] for batch in batches] == [0] * 7 + [1] + [2] * 7
    assert [bool(batch["problem"]) for batch in batches[:7]] == [False] * 2 + [True] * 5 or num_workers == 2
    problems = {(batch["slide"], batch["problem"]) for batch in batches if batch["problem"]}
    ((slide, said),) = problems
    assert slide == 0
    assert said.startswith("A loader process was killed" if failure == "killed" else "Memory ran out")
    assert sum(len(batch["index"]) for batch in batches if batch["slide"] == 2) == 64


def record(**about: object) -> Record:
    """Of a training on tiles of 32 pixels that showed no b."""
    images = Images(side=[32.0, 32.0, 32.0])
    unlearnt = {"b": "it occurs in none of the 9 training labels"}
    return Record(["a", "b"], {}, unlearnt, False, 9, 3, False, images, dict(about))


def test_what_speaks_against_the_results_is_said_of_each_slide(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert {plan.warning for plan in inputs(folder, record=record()).plans if plan.entry.slide != "b"} == {""}
    capsys.readouterr()
    plans = inputs(folder, tissue_fraction=0.2, tile_size=96, record=record(tissue_fraction=0.5)).plans
    both = (
        "tissue_fraction is 0.2, and the training saw no tile with less than 0.5 of tissue: what is found at the rim "
        "of the tissue means little; each tile is 96 pixels along its shorter side, far from those of the training "
        "(median 32)"
    )
    assert [plan.warning for plan in plans] == [both, f"no tissue was found; its result is empty; {both}", both]
    said = capsys.readouterr().out
    assert said.count("WARNING: tissue_fraction is 0.2") == said.count("WARNING: each tile is 96 pixels") == 1


def test_a_slide_of_other_colours_than_the_training_is_said(folder: Path, capsys: pytest.CaptureFixture) -> None:
    pink = np.moveaxis(with_tissue(128, [(0, 0, 128, 128)]), -1, 0)
    known = record()
    images = replace(known.images, looks=summed_up([look_of(np.ascontiguousarray(pink))] * 5))
    known = replace(known, images=images)
    settings = {"record": known, "tissue_fraction": 0.9}
    assert [plan.warning for plan in inputs(folder, **settings).plans if plan.entry.slide != "b"] == ["", ""]
    pyramid(folder / "d.tif", with_tissue(512)[..., ::-1], mpp=4.0)
    found = {plan.entry.slide: plan.warning for plan in inputs(folder, **settings).plans}
    assert found["a"] == found["c"] == ""
    assert found["d"].startswith("its tissue has other colours")
    assert f"WARNING: {folder / 'd.tif'}: its tissue has other colours" in capsys.readouterr().out


def test_windows_are_pieces_of_the_pictures_that_a_segmentation_learnt_from(tmp_path: Path) -> None:
    folder = pyramid(tmp_path / "in" / "a.tif", with_tissue(512, [(128, 158, 256, 256)]), mpp=4.0).parent

    def plan(about: dict[str, object], **settings: object) -> Plan:
        (found,) = inputs(folder, record=record(**about), usual_tissue=0.01, pieces=True, **settings).plans
        return found

    assert 0.01 < plan({}).grid.tissue.min() < 0.1
    assert plan({"tissue_fraction": 0.5}).grid.tissue.min() >= 0.5
    asked = plan({"tissue_fraction": 0.5}, tissue_fraction=0.01)
    assert asked.grid.tissue.min() < 0.1
    assert "no tile with less than 0.5 of tissue" in asked.warning
    assert plan({}, tile_size=16).warning == ""  # cut from pictures of 32 pixels
    assert "far from those of the training (median 32)" in plan({}, tile_size=96).warning


def test_a_class_that_was_not_learnt_is_no_target() -> None:
    assert check_targets(["a"], ["a", "b"], record()) == [0]
    with pytest.raises(InputError, match="target 'b' was not learnt, so it is never found: it occurs in none of the 9"):
        check_targets(["b"], ["a", "b"], record())


def test_slides_that_cannot_be_used_are_set_aside(folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "broken.tif").write_bytes((folder / "a.tif").read_bytes()[:200])
    pyramid(folder / "nameless.tif", with_tissue(512), mpp=None)
    (folder / "c.geojson").write_text('{"type": "Point", "coordinates": [9999, 5]}')
    found = inputs(folder, annotations=str(folder))
    assert [plan.entry.slide for plan in found.plans] == ["a", "b"]
    with pytest.raises(InputError, match=r"3 of 5 slides could not be used: .*broken\.tif.*c\.tif.*nameless\.tif"):
        found.finish()
    rows = json.loads((folder.parent / "out" / "failures.json").read_text())
    assert [Path(row["file"]).name for row in rows] == ["broken.tif", "c.tif", "nameless.tif"]
    assert "outside the slide" in rows[1]["problem"]
    assert "assume_mpp" in rows[2]["problem"]
    assert [plan.entry.slide for plan in inputs(folder, assume_mpp=4.0).plans] == ["a", "b", "c", "nameless"]


def test_a_run_without_any_usable_slide_stops(tmp_path: Path) -> None:
    pyramid(tmp_path / "in" / "a.tif", with_tissue(512), mpp=None)
    with pytest.raises(InputError, match="1 of 1 slides"):
        inputs(tmp_path / "in")


def test_several_processes_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would look at all slides and write the same files."""
    monkeypatch.setattr("bundle_runtime.slides.stream.distributed", lambda: True)
    with pytest.raises(InputError, match="by one process; start it without torchrun"):
        SlideInputs(str(folder), str(folder / "out"), mpp=0.5)


def test_settings(folder: Path) -> None:
    with pytest.raises(InputError, match="batch_size"):
        SlideTiles(inputs(folder), 0)
    with pytest.raises(InputError, match=r"annotations .*none does not exist"):
        inputs(folder, annotations=str(folder / "none"))
    assert check_targets(["b"], ["a", "b"]) == [1]
    with pytest.raises(InputError, match="target 'TUM' is not a class of the network; choose from a, b"):
        check_targets(["TUM"], ["a", "b"])
    with pytest.raises(InputError, match="names no class"):
        check_targets([], ["a"])


@pytest.mark.parametrize("settings", [{"mpp": 0.52}, {"mpp": 0.48}, {"magnification": 20}])
def test_tiles_of_the_resolution_of_the_training(
    tmp_path: Path, settings: dict[str, float], capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "model.json").write_text('{"mpp": 0.5}')
    assert check_resolution(tmp_path / "model.pt", **settings) == pytest.approx(0.5, abs=0.03)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"mpp": 0.25}, r"of 0\.25; give --mpp 0\.5, or"),
        ({"magnification": 10}, r"of 1; give --mpp 0\.5 and --magnification null, or"),
    ],
)
def test_tiles_of_another_resolution_are_refused(tmp_path: Path, settings: dict[str, float], advice: str) -> None:
    """A network for 20x gives probabilities for tiles at 40x as well, and nobody would notice."""
    (tmp_path / "model.json").write_text('{"mpp": 0.5}')
    with pytest.raises(InputError, match=rf"trained on tiles of 0\.5 micrometres a pixel .*{advice}"):
        check_resolution(tmp_path / "model.pt", **settings)


@pytest.mark.parametrize("sidecar", [None, "{}", '{"mpp": null}'])
def test_an_unknown_resolution_is_said_to_be_unchecked(
    tmp_path: Path, sidecar: str | None, capsys: pytest.CaptureFixture
) -> None:
    if sidecar is not None:
        (tmp_path / "model.json").write_text(sidecar)
    check_resolution(tmp_path / "model.pt", mpp=0.5)
    assert capsys.readouterr().out.count("whether 0.5 micrometres a pixel is right cannot be checked") == 1
