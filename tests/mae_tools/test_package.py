"""The package of a bundle: what is in it, what is refused, and that it runs where there is nothing else."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import jsonschema
import launch
import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from bundle_runtime.data.record import Images, Record
from bundle_runtime.weights.save import save_encoder, save_network
from custom_components.errors import InputError
from mae_tools.agree import agreeing, describe, read_metadata
from mae_tools.demo_data import make_abdomen
from mae_tools.metadata_schema import METADATA_SCHEMA
from mae_tools.package import _learnt_metadata, package, python_files
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, verify_net_in_out
from page_reader import reported

ROOT = Path(__file__).resolve().parents[2]
NAME = "btcv_unetr_mae"
CONFIGS = ROOT / "bundles" / NAME / "configs"
ARCHIVE = f"{NAME}_v0.2.0.zip"


def copy_bundle(folder: Path) -> Path:
    return shutil.copytree(ROOT / "bundles" / NAME, folder / NAME, ignore=shutil.ignore_patterns("models", "eval"))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return copy_bundle(tmp_path)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    archive = package(copy_bundle(tmp_path_factory.mktemp("bundle")), tmp_path_factory.mktemp("dist"))
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    return folder / NAME


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which this repository, although installed in place, cannot be imported."""
    guard = tmp_path_factory.mktemp("guard")
    hide = (
        "import sys\nsys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in getattr(f, '__module__', '')]\n"
    )
    (guard / "sitecustomize.py").write_text(hide)
    return {**os.environ, "PYTHONPATH": str(guard), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}


def run(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    if arguments[0] == "-m":
        return launch.run(*arguments[1:], cwd=folder, environment={"TQDM_DISABLE": "1"}, repository=False)
    command = [sys.executable, "-W", "ignore", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


# --- what is in it ------------------------------------------------------------------------------------------------


def test_contents(unpacked: Path) -> None:
    names = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    assert {"LICENSE", "SHA256SUMS", "docs/README.md", "configs/metadata.json", "configs/logging.conf"} <= names
    assert {f"configs/{path.stem}{end}" for path in CONFIGS.glob("*.yaml") for end in (".yaml", ".json")} <= names
    assert {"mae_tools/sources/btcv.py", "mae_tools/compare/command.py", "bundle_runtime/engine/checkpoint.py"} <= names
    assert {"bundle_runtime/pages/page.html.j2", "bundle_runtime/pages/report.py"} <= names
    assert {"mae_tools/check/volumes.py", "mae_tools/check/report.py"} <= names
    others = ("mae_tools/demo", "mae_tools/package.py", "bundle_runtime/slides", "bundle_runtime/probes/l")
    others += ("mae_tools/check/pictures.py", "bundle_runtime/data/image_", "bundle_runtime/data/mask_file.py")
    others += ("bundle_runtime/data/sequence_inputs.py", "bundle_runtime/data/verify_pictures.py")
    assert not {name for name in names if name.startswith(others)}


def test_a_package_of_pictures_reads_no_volumes() -> None:
    names = {path.name for path in python_files(ROOT / "bundles" / "cxr14_mae")}
    assert {"image_cache.py", "picture_proposals.py"} <= names
    volumes = {"volume.py", "verify_volumes.py", "series.py", "dataset.py", "case_report.py", "volume_proposals.py"}
    assert not names & volumes


def test_checksums_cover_every_file(unpacked: Path) -> None:
    lines = (unpacked / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    found = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    later = ("models/", "eval/", "SHA256SUMS")  # written by runs in the folder, and the list itself
    assert {name for name in found if not name.startswith(later) and "__pycache__" not in name} == set(sums)
    for name, digest in sums.items():
        assert hashlib.sha256((unpacked / name).read_bytes()).hexdigest() == digest


def test_json_twins_say_what_the_yaml_says(unpacked: Path) -> None:
    for path in CONFIGS.glob("*.yaml"):
        assert json.loads((unpacked / "configs" / f"{path.stem}.json").read_text()) == yaml.safe_load(path.read_text())


def test_equal_content_gives_equal_bytes(bundle: Path, tmp_path: Path) -> None:
    first = package(bundle, tmp_path / "a")
    for path in bundle.rglob("*"):
        os.utime(path, (0, 0))
    assert first.read_bytes() == package(str(bundle), str(tmp_path / "b")).read_bytes()
    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    assert (tmp_path / "a" / f"{ARCHIVE}.sha256").read_text() == f"{digest}  {ARCHIVE}\n"
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [ARCHIVE, f"{ARCHIVE}.sha256"]


def small(bundle: Path, **sizes: object) -> ConfigParser:
    """Write small sizes into every config of a bundle, as a team with an overlay of its own would; for inference."""
    values = {
        "roi_size": [16] * 3,
        "hidden_size": 12,
        "mlp_dim": 24,
        "num_layers": 3,
        "num_heads": 2,
        "feature_size": 4,
    }
    for path in (bundle / "configs").glob("*.yaml"):
        text = path.read_text()
        for key, value in {**values, **sizes}.items():
            text = re.sub(rf"^{key}: .*$", f"{key}: {value}", text, flags=re.M)
        path.write_text(text)
    parser = ConfigParser(ConfigParser.load_config_file(str(bundle / "configs" / "inference.yaml")))
    parser["bundle_root"] = str(bundle)
    (bundle / "configs" / "metadata.json").write_text(json.dumps(agreeing(read_metadata(bundle), describe(bundle))))
    return parser


def put_weights(bundle: Path, parser: ConfigParser, **about: object) -> None:
    """The weights of pre-training and training with the settings of `parser`."""
    models, network = bundle / "models", parser.get_parsed_content("network_def")
    sidecar = {
        "class_names": parser.get_parsed_content("classes"),
        "normalisation": parser.get_parsed_content("normalisation"),
    }
    save_network(models / "model.pt", network, {**sidecar, **about})
    save_encoder(models / "pretrained_encoder.safetensors", network, {})


def packed_models(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as opened:
        return {name.split("/models/")[1] for name in opened.namelist() if "/models/" in name}


def test_weights_travel_but_no_training_state_no_trials_and_no_rubbish(bundle: Path, tmp_path: Path) -> None:
    put_weights(bundle, small(bundle))
    wanted = {path.name for path in (bundle / "models").iterdir()} | {"thresholds.json"}
    assert {"model.pt", "model.json", "model.safetensors", "pretrained_encoder.json"} <= wanted
    others = (
        "training_state.pt",
        ".model.pt.abc",
        "notes.txt",
        "settings.json",
        "scratch/model.pt",
        "scratch/model.json",
    )
    for name in ("thresholds.json", *others):
        (bundle / "models" / name).parent.mkdir(exist_ok=True)
        (bundle / "models" / name).write_bytes(b"x")
    (bundle / "eval").mkdir()
    (bundle / "eval" / "history.csv").touch()
    archive = package(bundle, tmp_path / "dist")
    assert packed_models(archive) == wanted
    with zipfile.ZipFile(archive) as opened:
        assert not any("/eval/" in name for name in opened.namelist())
    assert [path.name for path in (bundle / "eval").iterdir()] == ["history.csv"]  # looking at weights left no report
    assert packed_models(package(bundle, tmp_path / "bare", weights=False)) == set()


def test_a_package_can_be_packed_again(unpacked: Path, tmp_path: Path) -> None:
    again = shutil.copytree(unpacked, tmp_path / NAME, ignore=shutil.ignore_patterns("models", "eval", "__pycache__"))
    with zipfile.ZipFile(package(again, tmp_path / "dist")) as archive:
        assert archive.read(f"{NAME}/SHA256SUMS") == (unpacked / "SHA256SUMS").read_bytes()


# --- what is refused ----------------------------------------------------------------------------------------------


def test_a_folder_that_is_no_bundle_is_refused_and_what_is_missing_is_named(bundle: Path, tmp_path: Path) -> None:
    (bundle / "LICENSE").unlink()
    (bundle / "configs" / "inference.yaml").unlink()
    with pytest.raises(InputError, match=r"not a complete bundle: configs/inference\.yaml, LICENSE missing"):
        package(bundle, tmp_path / "dist")
    with pytest.raises(InputError, match=r"^There is no bundle '.*nowhere'; give the folder of one, or one of brats"):
        package(tmp_path / "nowhere", tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


def test_a_bundle_is_found_by_its_name(tmp_path: Path) -> None:
    assert package("cxr14_mae", tmp_path, weights=False).name.startswith("cxr14_mae_v")


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("version", "0.1", "version is '0.1', expected three numbers"),
        ("version", "9.9.9", "version 9.9.9 has no entry in the changelog"),
        ("version", None, "version is None"),
    ],
)
def test_the_version_must_be_known(bundle: Path, tmp_path: Path, key: str, value: object, sentence: str) -> None:
    path = bundle / "configs" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(InputError, match=re.escape(sentence)) as caught:
        package(bundle, tmp_path / "dist")
    assert "metadata.json" in str(caught.value)


def test_a_json_file_that_contradicts_its_yaml_is_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "configs" / "train.json").write_text('{"stage": "train"}')
    with pytest.raises(InputError, match=r"train\.json differs from train\.yaml"):
        package(bundle, tmp_path / "dist")


@pytest.mark.parametrize(
    ("overlay", "differs"),
    [
        ({"hidden_size": 24}, "'vit.cls_token' is (1, 1, 24), this network needs (1, 1, 12)"),
        ({"num_heads": 3}, "num_heads is 3 in "),
        ({"intensity_range": [0, 1]}, "normalisation is "),
    ],
)
def test_weights_that_the_configs_do_not_fit_are_refused(
    bundle: Path, tmp_path: Path, overlay: dict[str, object], differs: str
) -> None:
    # They were packed without a word, and the package then failed where it was unpacked.
    parser = small(bundle)
    parser.update(overlay)
    put_weights(bundle, parser)
    (bundle / "models" / "pretrained_encoder.safetensors").unlink()
    with pytest.raises(InputError, match=r"without an overlay, does not fit the weights") as caught:
        package(bundle, tmp_path / "dist")
    assert differs in str(caught.value)
    assert "Write the settings" in str(caught.value)
    assert "--weights false" in str(caught.value)
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize("names", [["background", "liver"], None])
def test_classes_that_the_metadata_do_not_name_are_refused(
    bundle: Path, tmp_path: Path, names: list[str] | None
) -> None:
    # A bundle trained on other classes was packaged with the names of the original: liver left the house as spleen.
    parser = small(bundle)
    own = names or [*parser.get_parsed_content("classes")[:1], *parser.get_parsed_content("classes")[:0:-1]]
    parser.update({"class_names": own})
    put_weights(bundle, parser)
    with pytest.raises(InputError, match=r"metadata\.json: .*channel 1 of outputs\.pred is 'spleen', the network's is"):
        package(bundle, tmp_path / "dist")
    assert package(bundle, tmp_path / "dist", weights=False).is_file()  # as it is it still says what it is for


def test_an_overlay_is_baked_in_with_the_classes_of_the_weights(bundle: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    sizes = {"roi_size": [16] * 3, "hidden_size": 12, "mlp_dim": 24, "num_layers": 3, "num_heads": 2, "feature_size": 4}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**sizes, "spacing": [2.0, 2.0, 3.0]}))
    parser = ConfigParser(ConfigParser.load_config_file(str(bundle / "configs" / "inference.yaml")))
    parser.update(
        {**sizes, "spacing": [2.0, 2.0, 3.0], "class_names": ["background", "liver"], "bundle_root": str(bundle)}
    )
    put_weights(bundle, parser)
    with zipfile.ZipFile(package(bundle, tmp_path / "dist", overlay=tmp_path / "mine.yaml")) as opened:
        metadata = json.loads(opened.read(f"{NAME}/configs/metadata.json"))
        stages = {name: yaml.safe_load(opened.read(f"{NAME}/configs/{name}.yaml")) for name in ("train", "inference")}
        card = opened.read(f"{NAME}/docs/README.md").decode()
        assert f"{NAME}/models/model.pt" in opened.namelist()
    pred = metadata["network_data_format"]["outputs"]["pred"]
    assert (pred["channel_def"], pred["spatial_shape"]) == ({"0": "background", "1": "liver"}, [16, 16, 16])
    assert "13" not in metadata["task"] + metadata["label_classes"] + metadata["pred_classes"]
    assert {stage["spacing"][2] for stage in stages.values()} == {3.0}
    assert "| `spacing` | `[2.0, 2.0, 3.0]` | from mine.yaml |" in card
    assert {path: path.read_bytes() for path in before} == before


def test_channels_that_were_not_learnt_have_no_name_in_the_metadata(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = small(bundle)
    names = parser.get_parsed_content("classes")
    record = Record(names, {}, {names[4]: "it is in none of the 3 labels"}, False, 3, 3, True, Images(), {})
    put_weights(bundle, parser, training=record.to_plain())
    with zipfile.ZipFile(package(bundle, tmp_path / "dist")) as opened:
        packed = json.loads(opened.read("btcv_unetr_mae/configs/metadata.json"))
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert f"do not name the channel: {channels.pop('4')}\n" in capsys.readouterr().out
    assert packed == metadata
    jsonschema.validate(packed, METADATA_SCHEMA)


def test_an_unlearnt_region_takes_the_tissue_that_it_alone_gives(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    source = ROOT / "bundles" / "brats_unetr_mae" / "configs" / "metadata.json"
    shutil.copy(source, tmp_path / "configs")
    names = ["background", "TC", "WT", "ET"]
    record = Record(names, {}, {"ET": "no training item has it"}, True, 3, 3, False, Images(), {})
    save_network(tmp_path / "models" / "model.pt", torch.nn.Linear(1, 1), {"training": record.to_plain()})
    (made,) = _learnt_metadata(tmp_path).values()
    told = json.loads(made)["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert told == {"0": "background", "1": "oedema", "4": "tumour core"}


def test_an_encoder_that_the_configs_do_not_fit_is_refused(bundle: Path, tmp_path: Path) -> None:
    put_weights(bundle, small(bundle))
    small(bundle, hidden_size=24)
    for path in (bundle / "models").glob("model.*"):
        path.unlink()
    with pytest.raises(InputError, match=r"train\.yaml, .* does not fit the weights: .*pretrained_encoder"):
        package(bundle, tmp_path / "dist")


def test_broken_yaml_is_named(bundle: Path, tmp_path: Path) -> None:
    (bundle / "configs" / "train.yaml").write_text("a: [1, 2\n")
    with pytest.raises(InputError, match=r"train\.yaml: cannot be read as a config"):
        package(bundle, tmp_path / "dist")


def test_a_full_disk_leaves_nothing(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
        package(bundle, tmp_path / "dist")
    assert list((tmp_path / "dist").iterdir()) == []


# --- metadata -----------------------------------------------------------------------------------------------------


def test_metadata_agree_with_the_configs_and_the_requirements() -> None:
    metadata = json.loads((CONFIGS / "metadata.json").read_text())
    jsonschema.validate(metadata, METADATA_SCHEMA)
    inference = yaml.safe_load((CONFIGS / "inference.yaml").read_text())
    formats = metadata["network_data_format"]
    pred, image = formats["outputs"]["pred"], formats["inputs"]["image"]
    assert pred["num_channels"] == len(pred["channel_def"]) == 14
    assert image["num_channels"] == inference["in_channels"]
    assert image["spatial_shape"] == pred["spatial_shape"] == inference["roi_size"]
    pins = dict(
        line.split("==") for line in (ROOT / "requirements.txt").read_text().splitlines() if re.match(r"\w", line)
    )
    pip_line = (CONFIGS.parent / "docs" / "README.md").read_text()
    assert all(f"{name}=={version}" in pip_line for name, version in pins.items())
    stated = {key: metadata[f"{key}_version"] for key in ("monai", "numpy")} | {"torch": metadata["pytorch_version"]}
    assert stated | metadata["required_packages_version"] == pins


@pytest.mark.parametrize(
    ("stage", "kind"), [("pretrain", "train"), ("train", "train"), ("evaluate", "infer"), ("inference", "infer")]
)
def test_engine_slots_have_canonical_ids(stage: str, kind: str) -> None:
    """The part of MONAI's `check_properties` that needs no data; the slow test below does all of it."""
    workflow = ConfigWorkflow(str(CONFIGS / f"{stage}.yaml"), workflow_type=kind, logging_file=False)
    for name, wanted in workflow.properties.items():
        if wanted["required"]:
            assert wanted["id"] in workflow.parser, name
        else:
            assert workflow._check_optional_id(name, wanted), name


# --- MONAI's tools, and a run with nothing else on the path -------------------------------------------------------


def test_network_check_and_export_at_a_small_size(unpacked: Path, tmp_path: Path) -> None:
    files = [str(unpacked / "configs" / name) for name in ("inference.json", "demo.json")]
    meta = str(unpacked / "configs" / "metadata.json")
    sizes = {"_meta_#network_data_format#inputs#image#spatial_shape": [32, 24, 24], "bundle_root": str(unpacked)}
    verify_net_in_out("network_def", meta_file=meta, config_file=files, device="cpu", **sizes)
    parser = ConfigParser()
    parser.read_config(files)
    parser["bundle_root"] = str(unpacked)
    network = parser.get_parsed_content("network_def").eval()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    ckpt_export(
        "network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(tmp_path / "model.pt"),
        meta_file=meta,
        config_file=files,
        bundle_root=str(unpacked),
    )
    image = torch.rand(1, 1, 32, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.load(str(tmp_path / "model.ts"))(image), network(image))


@pytest.mark.timeout(240)
def test_the_package_trains_and_infers_elsewhere(unpacked: Path, alone: dict[str, str], tmp_path: Path) -> None:
    hidden = run(tmp_path, alone, "-c", "import custom_components")
    assert "No module named 'custom_components'" in hidden.stderr
    inside = run(unpacked, alone, "-c", "import custom_components; print(custom_components.__file__)")
    assert Path(inside.stdout.strip()).is_relative_to(unpacked)
    data = tmp_path / "data"
    make_abdomen(data, cases=3, shape=(48, 40, 36))
    start = ("-m", "monai.bundle", "run", "--config_file")
    train = run(
        unpacked, alone, *start, "['configs/train.yaml','configs/demo.yaml']", "--dataset_dir", str(data),
        *("--init", "scratch", "--max_epochs", "1", "--val_interval", "1"),
    )  # fmt: skip
    assert train.returncode == 0, train.stderr[-3000:]
    assert (unpacked / "models" / "model.pt").is_file()
    infer = run(
        unpacked, alone, *start, "['configs/inference.yaml','configs/demo.yaml']",
        *("--dataset_dir", str(data / "images")),
    )  # fmt: skip
    assert infer.returncode == 0, infer.stderr[-3000:]
    for path in (data / "images").iterdir():
        image = nib.load(path)
        label = nib.load(unpacked / "eval" / "inference" / path.name.replace(".nii.gz", "_seg.nii.gz"))
        assert label.shape == image.shape
        np.testing.assert_array_equal(label.affine, image.affine)
    assert len(reported(unpacked / "eval" / "inference", "volumes.csv", "version 0.2.0").pictures) == 3


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_monai_commands_on_the_package(unpacked: Path, alone: dict[str, str], tmp_path: Path) -> None:
    meta = ("--meta_file", "configs/metadata.json")
    schema = tmp_path / "schema.json"  # with a file in place MONAI downloads nothing
    schema.write_text(json.dumps(METADATA_SCHEMA))
    config = ("--config_file", "configs/inference.yaml")
    parser = ConfigParser()
    parser.read_config(str(CONFIGS / "inference.yaml"))
    parser["bundle_root"] = str(unpacked)
    torch.save(parser.get_parsed_content("network_def").state_dict(), tmp_path / "model.pt")
    files = ("--ckpt_file", str(tmp_path / "model.pt"), "--filepath", str(tmp_path / "model.ts"))
    for command in (
        ("verify_metadata", *meta, "--filepath", str(schema)),
        ("verify_net_in_out", "network_def", *meta, *config),
        ("ckpt_export", "network_def", *meta, *config, *files),
    ):
        done = run(unpacked, alone, "-m", "monai.bundle", *command)
        assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "model.ts").is_file()
