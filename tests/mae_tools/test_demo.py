import functools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from custom_components.errors import InputError
from mae_tools.adopt import adopt
from mae_tools.bundles import every_bundle, load, overlays, stages
from mae_tools.closure import ROOT
from mae_tools.demo import _figures, _Runner, demo, write_thumbnail
from mae_tools.demo_data import PAINTERS, make_abdomen, make_histology
from mae_tools.package import package
from PIL import Image
from small_bundles import put_weights


def test_what_cannot_run_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no bundle 'lung'"):
        demo("lung", out=str(tmp_path))
    with pytest.raises(InputError, match="without dataset_dir"):
        demo(out=str(tmp_path), datalist="x.json")
    with pytest.raises(InputError, match=r"holds no datalist\.json"):
        demo(out=str(tmp_path), dataset_dir=str(tmp_path))
    with pytest.raises(InputError, match="No stage has a setting 'spacin'"):
        demo(out=str(tmp_path / "out"), spacin=[1, 1, 1])
    assert not (tmp_path / "out").exists()  # nothing was drawn


@pytest.mark.parametrize("root", every_bundle(), ids=lambda root: root.name)
def test_no_arm_has_slower_layers_than_the_other(root: Path) -> None:
    """From scratch all layers learn at one rate, so after so short a pre-training they do, too."""
    for stage in (stage for stage in stages(root) if stage.startswith("train")):
        values = [load(path).get("layer_decay") for path in overlays(root / "configs", stage)]
        assert [value for value in values if value is not None][-1:] == [1.0], stage


@pytest.mark.slow
def test_every_stage_end_to_end(tmp_path: Path) -> None:
    """`make demo` at the smallest size that still has every step; about two minutes."""
    make_abdomen(tmp_path / "data", cases=5, shape=(48, 40, 36))
    command = [sys.executable, "-m", "mae_tools", "demo", "--out", str(tmp_path / "out")]
    command += ["--dataset_dir", str(tmp_path / "data"), "--max_epochs", "2", "--val_interval", "1"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
    assert "from scratch" in result.stdout
    assert "from MAE" in result.stdout
    assert "from scratch" in (tmp_path / "out/demo.html").read_text()
    assert (tmp_path / "out/comparison/comparison.json").exists()
    assert list((tmp_path / "out/inference").glob("*_seg.nii.gz"))
    assert str(tmp_path / "out/check/check.html") in result.stdout
    assert ".png" not in result.stdout


@pytest.mark.slow
def test_a_step_that_fails_is_named_and_nothing_starts_after_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runner = _Runner(ROOT / "bundles" / "cxr14_mae", tmp_path, {})
    with pytest.raises(InputError, match=r"'look' failed with exit code 1; its output is in .*logs/look\.log"):
        runner._run("look", ["mae_tools", "check", str(tmp_path / "none.json")])
    for said in (capfd.readouterr().err, (tmp_path / "logs" / "look.log").read_text()):
        assert "Traceback" not in said
        assert re.search(rf"^Error: .*{tmp_path / 'none.json'}", said, re.M)
    with pytest.raises(InputError, match="'look' failed"):
        runner._run("more", ["mae_tools", "check", "--help"])
    assert [step["exit_code"] for step in json.loads((tmp_path / "steps.json").read_text())] == [1]


def test_the_page_shows_the_last_reconstructions_and_both_arms(tmp_path: Path) -> None:
    names = [f"pretrain/pictures/epoch_{epoch:05d}_{case}.png" for epoch in (5, 10) for case in ("0_a", "1_b")]
    names += ["comparison/comparison.png"]
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 40 + number), (50 * number, 0, 0)).save(tmp_path / name)
    figures = _figures(tmp_path, ["", "_segmentation"])
    assert [figure.content for figure in figures] == [(tmp_path / name).read_bytes() for name in names[2:]]
    write_thumbnail(figures, tmp_path / "thumbnail.png", width=50)
    with Image.open(tmp_path / "thumbnail.png") as made:
        assert made.size == (50, 21 + 22)
        assert made.convert("RGB").getpixel((9, 9)) == (100, 0, 0)
        assert made.convert("RGB").getpixel((9, 30)) == (200, 0, 0)


def test_nothing_drawn_is_nothing_shown(tmp_path: Path) -> None:
    assert _figures(tmp_path, [""]) == []
    write_thumbnail([], tmp_path / "thumbnail.png")
    assert not (tmp_path / "thumbnail.png").exists()


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest set of H&E-like tiles."""
    folder = tmp_path_factory.mktemp("tiles")
    make_histology(folder, cases=64, nuclei_cases=16, nuclei_size=48, size=48)
    return folder


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Names and command lines of the steps, which are not run."""
    names: list[tuple[str, str]] = []
    monkeypatch.setattr("mae_tools.demo._Runner._run", lambda self, *step: names.append((step[0], str(step[1]))))
    monkeypatch.setattr("mae_tools.demo.compare", lambda *args, **settings: ("the table", {}))
    return names


BOTH = ["train{}_scratch", "train{}_mae", "evaluate{}_scratch", "evaluate{}_mae", "inference{}"]


def test_a_bundle_for_classes_and_masks_does_both_with_drawn_data(
    steps: list[tuple[str, str]], tiles: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(PAINTERS, "histology", lambda folder: shutil.copytree(tiles, folder))
    monkeypatch.setitem(PAINTERS, "slide", Path.mkdir)
    demo("histo_sdmae", out=str(tmp_path / "out"))
    masks = [name.format("_segmentation") for name in BOTH]
    classes = [name.format("") for name in BOTH]
    names = [name for name, _ in steps]
    assert names[:2] == ["check", "check_segmentation"]
    assert sorted(names) == sorted(["check", "check_segmentation", "pretrain", *classes, *masks, "detect"])
    assert names.index("pretrain") < names.index("train_mae") < names.index("evaluate_mae") < names.index("inference")
    assert names.index("train_scratch") < names.index("evaluate_scratch")
    commands = dict(steps)
    assert "nuclei/datalist.json" in commands["train_segmentation_mae"]
    assert "demo_segmentation.yaml" in commands["evaluate_segmentation_mae"]
    assert "demo_detect.yaml" in commands["detect"]
    assert str(tmp_path / "out/data/slides") in commands["detect"]


def test_own_data_with_masks_is_segmented_and_not_classified(
    steps: list[tuple[str, str]], tiles: Path, tmp_path: Path
) -> None:
    demo("histo_sdmae", out=str(tmp_path / "out"), dataset_dir=str(tiles / "nuclei"))
    masks = [name.format("_segmentation") for name in BOTH]
    assert sorted(name for name, _ in steps) == sorted(["check_segmentation", "pretrain", *masks])


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A bundle of one's own: the folder of another, under a name that no Python file knows."""
    skip = shutil.ignore_patterns("models", "eval", "cache")
    return shutil.copytree(ROOT / "bundles" / "btcv_unetr_mae", tmp_path / "prostate_mae", ignore=skip)


def test_a_copied_bundle_has_a_demo_and_a_package(
    steps: list[tuple[str, str]], copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(PAINTERS, "abdomen", functools.partial(make_abdomen, cases=3, shape=(48, 40, 36)))
    demo(str(copy), out=str(tmp_path / "out"))
    assert sorted(name for name, _ in steps) == sorted(["check", "pretrain", *(name.format("") for name in BOTH)])
    assert all(str(copy / "configs") in command for name, command in steps if name != "check")
    assert package(copy, tmp_path / "dist").name == "prostate_mae_v0.2.0.zip"


def test_what_a_bundle_asks_for_is_there(copy: Path, tmp_path: Path) -> None:
    tools = copy / "configs" / "tools.yaml"
    tools.write_text(tools.read_text().replace("sources: [btcv", "sources: [btcw"))
    with pytest.raises(InputError, match=r"tools\.yaml: there is no command or layout 'btcw' here"):
        package(copy, tmp_path / "dist")
    tools.write_text("draw: abdomen\nsorce: folder\n")
    with pytest.raises(InputError, match=r"tools\.yaml: there is no key 'sorce'; there are source, "):
        demo(str(copy), out=str(tmp_path / "out"))
    tools.unlink()
    with pytest.raises(InputError, match=r"tools\.yaml is missing"):
        demo(str(copy), out=str(tmp_path / "out"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_adopted_bundle_runs_its_demo_and_passes_the_zoo_checks(tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps({"training": [{"image": "a.nii.gz"}], "class_names": ["background", "prostate"]}))
    small = tmp_path / "small.yaml"
    small.write_text("{hidden_size: 24, mlp_dim: 48, num_layers: 3, num_heads: 2, feature_size: 4}")
    adopted = adopt("btcv_unetr_mae", tmp_path / "prostate_mae", str(mine), small)
    put_weights(adopted)  # of other classes than the drawn data has, on which the checks run
    demo(str(adopted), out=str(tmp_path / "out"), max_epochs=2, val_interval=1)
    assert (tmp_path / "out" / "comparison" / "comparison.json").exists()
    package(adopted, tmp_path / "dist", verify=True)


_SIZES = "hidden_size: 24, mlp_dim: 48, num_layers: 3, num_heads: 2"
_PICTURES = f"{{{_SIZES}, img_size: 64, cache_size: 72}}"
_CLASSES = {"class_names": ["none", "mild", "severe"], "task": "multi_class"}
_MASKS = {"class_names": ["background", "gland"], "mask_kind": "binary"}
ADOPTED = {
    "brats_unetr_mae": ([{"sequences": ["flair", "t1ce"]}], f"{{{_SIZES}, feature_size: 4, roi_size: [32, 32, 32]}}"),
    "cxr14_mae": ([_CLASSES], _PICTURES),
    "medcls_msmae": ([_CLASSES, _MASKS], _PICTURES),
    # Its dense head takes the features of four blocks.
    "histo_sdmae": ([{**_CLASSES, "mpp": 0.8}, _MASKS], _PICTURES.replace("num_layers: 3", "num_layers: 4")),
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("bundle", ADOPTED)
def test_what_is_adopted_from_the_others_passes_the_zoo_checks(bundle: str, tmp_path: Path) -> None:
    """With classes, sequences and sizes of one's own, and weights of them."""
    lists, sizes = ADOPTED[bundle]
    files = [tmp_path / f"mine{number}.json" for number in range(len(lists))]
    for file, content in zip(files, lists, strict=True):
        file.write_text(json.dumps({"training": [{"image": "a.png", "patient_id": "1"}], **content}))
    small = tmp_path / "small.yaml"
    small.write_text(sizes)
    adopted = adopt(bundle, tmp_path / "my_own", list(map(str, files)), small)
    put_weights(adopted)
    package(adopted, tmp_path / "dist", verify=True)
