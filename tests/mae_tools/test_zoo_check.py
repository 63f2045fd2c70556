"""The Model Zoo's checks: a package passes, a broken one is told what is wrong, one failure hides no other."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from custom_components.errors import InputError
from mae_tools import zoo_check, zoo_inside
from mae_tools.metadata_schema import METADATA_SCHEMA
from mae_tools.package import package

ROOT = Path(__file__).resolve().parents[2]
NAME = "btcv_unetr_mae"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package without weights."""
    bundle = tmp_path_factory.mktemp("bundle") / NAME
    shutil.copytree(ROOT / "bundles" / NAME, bundle, ignore=shutil.ignore_patterns("models", "eval"))
    return package(bundle, tmp_path_factory.mktemp("dist"))


@pytest.fixture
def inside(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The unpacked package, as the current folder: where the checks run."""
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path)
    monkeypatch.chdir(tmp_path / NAME)
    return tmp_path / NAME


def edit_metadata(folder: Path, **changes: object) -> None:
    path = folder / "configs" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# --- where the checks run -----------------------------------------------------------------------------------------


def test_what_is_no_package_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no SHA256SUMS inside"):
        zoo_check.verify(ROOT / "bundles" / NAME)
    (tmp_path / "x.zip").write_text("no zip")
    with pytest.raises(InputError, match="neither a folder nor a zip"):
        zoo_check.verify(tmp_path / "x.zip")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as two:
        two.writestr("a/LICENSE", "")
        two.writestr("b/LICENSE", "")
    with pytest.raises(InputError, match=r"two\.zip unpacks to a, b; expected one folder"):
        zoo_check.verify(tmp_path / "two.zip")


def test_what_is_imported_from_elsewhere_is_noticed(inside: Path, tmp_path: Path) -> None:
    """Where the package lacks a module, Python finds that of a repository that is installed in place."""
    with pytest.raises(zoo_inside.Wrong, match=r"imported from outside the package: .*custom_components"):
        zoo_inside._check_origin(tmp_path)


def test_one_failure_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(work: Path) -> str:
        raise zoo_inside.Wrong("a sentence")

    def break_down(work: Path) -> str:
        raise ZeroDivisionError

    monkeypatch.chdir(ROOT)
    for setting in ("logging.disable", "warnings.simplefilter"):
        monkeypatch.setattr(f"mae_tools.zoo_inside.{setting}", lambda *_: None)
    checks = {"first": refuse, "second": break_down, "third": lambda work: "good"}
    monkeypatch.setattr(zoo_inside, "CHECKS", checks)
    assert zoo_inside._run(tmp_path) == 1
    found, failed = json.loads((tmp_path / "results.json").read_text())
    assert (found, failed) == ({"third": "good"}, {"first": "a sentence", "second": "ZeroDivisionError"})
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "  passed  third: good"
    assert printed.err.count("Traceback") == 1  # a mistake of the program, not of the bundle
    monkeypatch.setattr(zoo_inside, "CHECKS", {"third": checks["third"]})
    assert zoo_inside._run(tmp_path) == 0


# --- the quick checks, one by one -----------------------------------------------------------------------------------


def test_sums(inside: Path, tmp_path: Path) -> None:
    count = len((inside / "SHA256SUMS").read_text().splitlines())
    assert zoo_inside._check_sums(tmp_path) == f"{count} files as packed"
    (inside / "LICENSE").write_text("another")
    (inside / "docs" / "README.md").unlink()
    with pytest.raises(zoo_inside.Wrong, match=r"differ from SHA256SUMS or are missing: LICENSE, docs/README\.md$"):
        zoo_inside._check_sums(tmp_path)


def test_files(inside: Path, tmp_path: Path) -> None:
    assert "no models/model.pt" in zoo_inside._check_files(tmp_path)
    (inside / "models").mkdir()
    (inside / "models" / "model.pt").touch()
    assert zoo_inside._check_files(tmp_path) == "necessary files are there"
    (inside / "LICENSE").unlink()
    (inside / "configs" / "inference.json").unlink()
    with pytest.raises(zoo_inside.Wrong, match=r"LICENSE, configs/inference\.json missing"):
        zoo_inside._check_files(tmp_path)


def test_metadata(inside: Path, tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text(json.dumps(METADATA_SCHEMA))
    assert zoo_inside._check_metadata(tmp_path) == "follows the schema, version 0.2.0"
    edit_metadata(inside, version="9.9.9")
    with pytest.raises(zoo_inside.Wrong, match=r"version 9\.9\.9 has no entry in the changelog"):
        zoo_inside._check_metadata(tmp_path)
    edit_metadata(inside, version="0.2")
    with pytest.raises(Exception, match="does not match"):
        zoo_inside._check_metadata(tmp_path)


def test_properties_of_a_bundle_without_drawn_data_are_left_out(inside: Path, tmp_path: Path) -> None:
    (inside / "configs" / "tools.yaml").write_text("source: folder\n")
    (tmp_path / "plan.json").write_text(json.dumps(zoo_check._plan(inside, tmp_path)))
    assert zoo_inside._check_properties(tmp_path) == "not checked: configs/tools.yaml names no data to draw"


# --- all of them, on packages ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_package_passes_all(archive: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert zoo_check.verify(archive).keys() == zoo_inside.CHECKS.keys()
    assert capfd.readouterr().out.count("passed") == len(zoo_inside.CHECKS)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_tampered_package_does_not_pass(inside: Path) -> None:
    (inside / "docs" / "README.md").write_text("changed")
    formats = json.loads((inside / "configs" / "metadata.json").read_text())["network_data_format"]
    formats["outputs"]["pred"]["dtype"] = "float64"  # the channels follow the metadata where there are no weights
    edit_metadata(inside, network_data_format=formats)
    with pytest.raises(InputError, match=r"checks failed: checksums: .*docs/README\.md.*network: .*doesn't match"):
        zoo_check.verify(inside)
