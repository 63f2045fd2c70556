"""The page of a stage says all that its files say, and asks nobody for anything."""

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scored_images
import torch
from bundle_runtime.data.inference import InferenceInputs
from bundle_runtime.figures.pictures import picture_path
from bundle_runtime.files import file_name, write_atomically, write_csv, write_json
from bundle_runtime.pages import report as pages
from bundle_runtime.pages.page import thumbnail
from bundle_runtime.pages.report import finish, write_report
from bundle_runtime.pages.score_tables import shown
from bundle_runtime.weights.io import sha256_of
from custom_components.errors import InputError
from page_reader import Reader, numbers
from PIL import Image

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
PIXELS = np.zeros((1, 8, 8), np.uint8)
needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium, so no page is opened")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    root = tmp_path / "bundle"
    write_json(root / "configs" / "metadata.json", {"name": "Lungs <b>", "version": "1.2.3"})
    (root / "models").mkdir()
    torch.save({"weight": torch.ones(2)}, root / "models" / "model.pt")
    write_json(root / "models" / "model.json", {"training": {"items": 40, "patients": 20}})
    return root


def ran(folder: Path, **more: Any) -> Path:
    """A folder in which a stage began; files of before are in it."""
    manifest = {"status": "finished", "started": BEGAN.isoformat(timespec="seconds"), "seconds": 12.3, "device": "cpu",
                "command": ["/x/__main__.py", "run", "--a b", "['c.yaml','d.yaml']", "it's $5"], "seed": 0,
                "config": {"dataset_dir": "/data", "learning_rate": 1e-4}, "data_fingerprint": "f1f2",
                "versions": {"torch": "2.0"}}  # fmt: skip
    write_json(folder / "manifest.json", {**manifest, **more})
    (folder / "pictures").mkdir(exist_ok=True)
    for name in ("pictures/stale.png", "calibration.png", "failures.json"):
        (folder / name).write_bytes(thumbnail(PIXELS, 8, "png"))
        os.utime(folder / name, (BEGAN.timestamp() - 9,) * 2)
    return folder


def picture(folder: Path, case: str) -> None:
    (folder / "pictures" / f"{file_name(case)}.png").write_bytes(thumbnail(PIXELS, 8, "png"))


@pytest.mark.parametrize("task", ["multi_label", "multi_class"])
def test_an_evaluation(tmp_path: Path, bundle: Path, task: str) -> None:
    model = bundle / "models" / "model.pt"
    folder = ran(tmp_path / "evaluate", warnings=["amp was off"], weights_sha256=sha256_of(model))
    scored = scored_images.report(task)
    scored.warnings = {"c3": "much darker"}
    scored.write(folder, {"seed": 0})
    ranking = json.loads((folder / "ranking.json").read_text())["cases"]
    worst, best = ranking[0]["case"], ranking[-1]["case"]
    for case in (worst, best):
        picture(folder, case)
    (folder / "roc.png").write_bytes(thumbnail(PIXELS, 8, "png"))
    page = Reader(write_report(folder, bundle, model, "evaluate", tmp_path / "datalist.json"))
    summary = json.loads((folder / "scores.json").read_text())
    told = {key: value for key, value in summary.items() if key not in ("header", "notes", "warnings")}
    assert not [number for number in numbers(told) if shown(number) not in page.words]
    assert [name.partition(":")[0] for name in page.pictures] == ["ROC curves", worst, best]
    assert page.addresses
    assert page.self_contained
    said = ("Lungs <b> version 1.2.3", sha256_of(model), "datalist.json list test", "f1f2", "40 items; 20 patients")
    said += ("120 cases 40 patients", "2026-03-01T12:00:00+00:00", "amp was off", "torch 2.0")
    # Lists of files as one types them, and not as `shlex` quotes them; the reader of pages takes [ ] , for blanks.
    said += ("""run '--a b' " 'c.yaml' 'd.yaml' " 'it'"'"'s $5'""",)
    for text in (*said, "c3: much darker", "learning_rate 0.0001"):
        assert text in page.text, text


def test_an_inference_lists_what_failed_and_its_tables(tmp_path: Path, bundle: Path) -> None:
    folder = ran(tmp_path / "inference")
    rows = [
        [f"case {number}", f"/secret/{number}", 0.123456789, "far away" if number == 2 else ""] for number in range(300)
    ]
    write_csv(folder / "predictions.csv", ["case", "file", "tumour", "warning"], rows)
    text = (folder / "predictions.csv").read_text()
    (folder / "predictions.csv").write_text(f"# model: x\n{text}")
    write_json(folder / "failures.json", [{"file": "/data/b.nii", "problem": "is truncated"}])
    picture(folder, "case 7")
    (folder / "case 7_classes.png").write_bytes(thumbnail(PIXELS, 8, "png"))  # a result, not a figure
    page = Reader(write_report(folder, bundle, bundle / "models" / "model.pt", "inference"))
    for said in ("/data/b.nii: is truncated", "case 2: far away", "the first 200 of 300 lines", "0.1235", "data /data"):
        assert said in page.text, said
    assert "/secret" not in page.text
    assert page.words.count("0.1235") == 200
    assert page.pictures == ["case_7"]


def test_slides_show_their_overlays_by_what_was_found(tmp_path: Path, bundle: Path) -> None:
    folder = ran(tmp_path / "detect")
    cases = [{"case": name, "patient_id": "p", "score": score} for name, score in (("b", 0.0), ("a", 1.0))]
    write_json(folder / "ranking.json", {"by": "share of its lesions that are found", "cases": cases})
    write_json(folder / "froc.json", {"header": {}, "score": 0.4321, "notes": ["a note"], "curve": {"x": [0.25, 8]}})
    for name in "ab":
        (folder / name).mkdir()
        (folder / name / "overlay.png").write_bytes(thumbnail(PIXELS, 8, "png"))
    page = Reader(write_report(folder, bundle, bundle / "models" / "model.pt", "detect"))
    assert page.pictures == ["b: 0", "a: 1"]
    assert all(said in page.text for said in ("0.4321", "a note", "0.25 8"))


def test_the_picture_of_a_case_with_a_long_name_is_found(tmp_path: Path, bundle: Path) -> None:
    folder, case = ran(tmp_path / "evaluate"), "folder of one patient / " * 12
    write_json(folder / "ranking.json", {"by": "Dice", "cases": [{"case": case, "patient_id": "p", "score": 0.5}]})
    write_atomically(picture_path(folder / "pictures", case), thumbnail(PIXELS, 8, "png"))
    page = Reader(write_report(folder, bundle, bundle / "models" / "model.pt", "evaluate"))
    assert page.pictures == [f"{case}: 0.5"]
    assert " ".join(case.split()) in page.text


def test_what_failed_ends_the_run_after_the_page(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = InferenceInputs(tmp_path / "out")
    inputs.count = 2
    inputs.set_aside("b", "b.png", "is empty")
    ran(tmp_path / "out")
    values = {"output_dir": tmp_path / "out", "bundle_root": bundle, "model_file": bundle / "models" / "model.pt"}
    monkeypatch.setattr(pages, "resolve", values.__getitem__)
    monkeypatch.setattr(pages, "settings", lambda: {"stage": "inference"})
    with pytest.raises(InputError, match="1 of 2 images could not be used"):
        finish(inputs)
    assert "b.png: is empty" in Reader(tmp_path / "out" / "report.html").text
    assert str(tmp_path / "out" / "report.html") in capsys.readouterr().out
    (tmp_path / "out" / "manifest.json").write_text("no JSON")
    with pytest.raises(ValueError, match="Expecting value"):  # a page that cannot be made is no secret
        finish()
    (tmp_path / "out" / "manifest.json").unlink()
    finish()  # the stage did not run: its network alone was asked for
    assert not capsys.readouterr().out


@needs_chromium
def test_a_browser_shows_the_page_and_asks_for_nothing(tmp_path: Path, bundle: Path) -> None:
    folder = ran(tmp_path / "evaluate")
    scored_images.report().write(folder)
    (folder / "roc.png").write_bytes(thumbnail(PIXELS, 8, "png"))
    page = write_report(folder, bundle, bundle / "models" / "model.pt", "evaluate")
    shown_page, asked = opened(page, tmp_path)
    assert "Scores, with 95 % intervals" in shown_page
    assert not asked
    page.write_text("<img src='http://example.invalid/x.png'>")  # a page that does ask is found out
    assert opened(page, tmp_path)[1] == {"http://example.invalid/x.png"}


@needs_chromium
def test_the_pictures_of_a_page_are_seen(tmp_path: Path, bundle: Path) -> None:
    """In a screenshot: each picture in its own colour at its own size, words, and white around them."""
    folder = ran(tmp_path / "evaluate")
    scored_images.report().write(folder)
    ranking = json.loads((folder / "ranking.json").read_text())["cases"]
    coloured = {"roc.png": (255, 0, 255), f"pictures/{ranking[0]['case']}.png": (0, 200, 0),
                f"pictures/{ranking[-1]['case']}.png": (0, 0, 255)}  # fmt: skip
    for name, colour in coloured.items():
        pixels = np.broadcast_to(np.array(colour, np.uint8)[:, None, None], (3, 80, 120))
        (folder / name).write_bytes(thumbnail(pixels, 120, "png"))
    page = write_report(folder, bundle, bundle / "models" / "model.pt", "evaluate")
    shot = screenshot(page, tmp_path)
    for name, colour in coloured.items():
        rows, columns = np.nonzero((shot == colour).all(axis=2))
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (80, 120), name
        assert len(rows) > 0.99 * 80 * 120, name  # their corners are round
    dark = (shot.max(axis=2) < 128).any(axis=1)
    assert 0.3 < dark[: np.flatnonzero(dark)[-1]].mean() < 0.9, "lines of words, and white between them"
    page.write_text("<title>nothing</title>")
    assert (screenshot(page, tmp_path) == 255).all(), "a page without anything is found out"


def screenshot(page: Path, folder: Path) -> np.ndarray:
    """(H, W, 3) what Chromium shows of a page, all of its length."""
    shot = folder / "shot.png"
    _chromium(folder, "--hide-scrollbars", "--window-size=1200,6000", f"--screenshot={shot}", page.as_uri())
    with Image.open(shot) as opened:
        return np.asarray(opened.convert("RGB"))


def opened(page: Path, folder: Path) -> tuple[str, set[str]]:
    """What Chromium makes of a page, and what the page asks for; what the browser itself wants to know is no matter."""
    log = folder / "net.json"
    text = _chromium(folder, f"--log-net-log={log}", "--net-log-capture-mode=Everything", "--dump-dom", page.as_uri())
    events = (event.get("params", {}) for event in json.loads(log.read_text())["events"])
    return text, {event["url"] for event in events if event.get("initiator") == "null" and "url" in event}


def _chromium(folder: Path, *options: str) -> str:
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    return subprocess.run([*command, *options], capture_output=True, text=True, timeout=120, check=True).stdout
