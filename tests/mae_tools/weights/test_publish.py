"""A release of trained weights: what is in it, and what is asked for before."""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import pytest
import yaml
from bundle_runtime.files import write_csv, write_json
from bundle_runtime.weights.io import sha256_of
from custom_components.errors import InputError
from mae_tools.package import large_files
from mae_tools.weights.publish import STATEMENT, publish
from small_bundles import put_weights, small_bundle

URL = "https://example.org/release"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with weights that say what they have learnt."""
    made = small_bundle("btcv_unetr_mae", tmp_path_factory.mktemp("bundle"))
    put_weights(made, finished=True)
    return made


@pytest.fixture
def statement(tmp_path: Path) -> Path:
    path = tmp_path / "data.md"
    path.write_text("# Data\n\n" + "".join(f"## {title}\nSaid.\n\n" for title in STATEMENT))
    return path


def test_a_release_can_be_checked_and_its_package_names_the_weights(
    bundle: Path, statement: Path, tmp_path: Path
) -> None:
    said = publish(str(bundle), str(tmp_path / "out"), URL, str(statement))
    (folder,) = (tmp_path / "out").iterdir()
    names = {path.name for path in folder.iterdir()}
    assert {"model.pt", "model.json", "model.safetensors", "training_record.json", "DATA.md", "SHA256SUMS"} <= names
    assert f"{len(names)} files" in said
    sums = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == names - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    record = json.loads((folder / "training_record.json").read_text())
    assert record["weights"]["training"]["items"] == 3
    assert (folder / "DATA.md").read_text() == statement.read_text()
    with zipfile.ZipFile(next(folder.glob("*.zip"))) as package:
        inside = package.namelist()
        entries = yaml.safe_load(package.read("btcv_unetr_mae/large_files.yml"))["large_files"]
    assert not [name for name in inside if "/models/" in name]
    model = next(entry for entry in entries if entry["path"] == "models/model.pt")
    assert model == {
        "path": "models/model.pt", "url": f"{URL}/model.pt", "hash_val": sha256_of(folder / "model.pt"),
        "hash_type": "sha256",
    }  # fmt: skip
    with pytest.raises(InputError, match="a release does not change"):
        publish(str(bundle), str(tmp_path / "out"), URL, str(statement))


def test_the_record_has_the_run_of_these_weights_and_of_no_others(
    bundle: Path, statement: Path, tmp_path: Path
) -> None:
    said = json.loads((bundle / "models" / "model.json").read_text())
    run = {"status": "finished", "epochs": 3, "iterations": 12, "seconds": 9.0, "processes": 1, "device": "cpu",
           "peak_host_mib": 9.0, "earlier_runs": []}  # fmt: skip
    write_csv(bundle / "eval" / "train" / "history.csv", ["epoch", "train_loss", "val_dice"], [[1, 0.9, 0.5]])
    for best, found in (({"metric": "val_dice", "value": 0.5, "epoch": 1}, True), ({"metric": "val_dice"}, False)):
        about = {"epoch": 1, "validation": {"val_dice": 0.5}}
        write_json(bundle / "models" / "model.json", {**said, **about})
        write_json(bundle / "eval" / "train" / "manifest.json", {**run, "best": best})
        publish(str(bundle), str(tmp_path / str(found)), URL, str(statement))
        (record,) = (json.loads(path.read_text()) for path in (tmp_path / str(found)).rglob("training_record.json"))
        assert (record["run"] is not None) == found
        assert not found or record["run"]["history"] == [{"epoch": "1", "train_loss": "0.9", "val_dice": "0.5"}]
    write_json(bundle / "models" / "model.json", said)
    shutil.rmtree(bundle / "eval")


def test_the_statement_on_the_data_is_asked_for_part_by_part(bundle: Path, statement: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="## De-identification"):
        publish(str(bundle), str(tmp_path / "out"), URL)
    statement.write_text(statement.read_text().replace("## Population\nSaid.", "## Population\n<ages, sexes>"))
    with pytest.raises(InputError, match=r"'## Population' is missing or not filled in"):
        publish(str(bundle), str(tmp_path / "out"), URL, str(statement))
    assert not (tmp_path / "out").exists()


def test_weights_without_a_record_are_not_published(bundle: Path, statement: Path, tmp_path: Path) -> None:
    path = bundle / "models" / "model.json"
    before = path.read_text()
    try:
        path.write_text(json.dumps({**json.loads(before), "finished": False}))
        with pytest.raises(InputError, match="its training was stopped"):
            publish(str(bundle), str(tmp_path / "out"), URL, str(statement))
        path.write_text(json.dumps({k: v for k, v in json.loads(before).items() if k != "training"}))
        with pytest.raises(InputError, match="no record of its training"):
            publish(str(bundle), str(tmp_path / "out"), URL, str(statement))
    finally:
        path.write_text(before)


def test_an_address_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the address of a folder"):
        large_files({}, "example.org/release")
