import hashlib
import json
from pathlib import Path
from typing import Any

import bundle_runtime.data.datalist as module
import pytest
from bundle_runtime.data.datalist import fingerprint, items, load, parse, prepare, with_convention, write
from custom_components.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = ["background", "liver", "spleen"]


def save(folder: Path, **content: Any) -> Path:
    path = folder / "datalist.json"
    path.write_text(json.dumps(content))
    return path


def pair(name: str, **more: Any) -> dict[str, Any]:
    return {"image": f"img/{name}.nii.gz", "label": f"lab/{name}.nii.gz", **more}


def test_items_are_ready_for_transforms(tmp_path: Path) -> None:
    path = save(
        tmp_path, class_names=NAMES, training=[pair("a", patient_id="p1", unlabelled=["spleen"]), pair("b")], test=[]
    )
    first, second = items(path, "training", class_names=NAMES)
    assert first == {
        "image": str(tmp_path / "img/a.nii.gz"),
        "label": str(tmp_path / "lab/a.nii.gz"),
        "section": "training",
        "case": "a",
        "file": str(tmp_path / "img/a.nii.gz"),
        "patient_id": "p1",
        "unlabelled": ["spleen"],
    }
    assert second["patient_id"] == "b"
    assert second["unlabelled"] == []


def test_dataset_dir_replaces_the_folder_of_the_file(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    path = save(tmp_path, training=[pair("a")])
    assert items(path, "training", data)[0]["image"] == str(data / "img/a.nii.gz")
    with pytest.raises(InputError, match="nowhere does not exist"):
        items(path, "training", tmp_path / "nowhere")


def test_a_dataset_dir_that_is_missing_or_a_file(tmp_path: Path) -> None:
    path = save(tmp_path, training=[pair("a")])
    with pytest.raises(InputError, match=r"none does not exist; give the one that the paths of"):
        items(path, "training", dataset_dir=tmp_path / "none")
    with pytest.raises(InputError, match=r"datalist\.json is a file, expected a folder"):
        items(path, "training", dataset_dir=path)


def test_sequences_share_a_case_name_and_stay_a_list(tmp_path: Path) -> None:
    files = [f"p1/p1_{name}.nii.gz" for name in ("t1", "t1ce", "t2")]
    item = items(save(tmp_path, test=[{"image": files}]), "test", need_label=False)[0]
    assert item["image"] == [str(tmp_path / file) for file in files]
    assert (item["case"], item["file"]) == ("p1", item["image"][0])
    assert "label" not in item


def test_equal_file_names_get_different_cases(tmp_path: Path) -> None:
    path = save(tmp_path, training=[{"image": "a/ct.nii.gz"}, {"image": "b/ct.nii.gz"}], test=[{"image": "c/x.nii"}])
    assert [item["case"] for item in items(path, "training", need_label=False)] == ["a_ct", "b_ct"]
    assert items(path, "test", need_label=False)[0]["case"] == "x"


@pytest.mark.parametrize(
    ("section", "advice"),
    [("training", "at least one training item"), ("validation", "val_fraction"), ("test", "test_fraction")],
)
def test_an_empty_section_says_how_to_fill_it(tmp_path: Path, section: str, advice: str) -> None:
    with pytest.raises(InputError, match=rf"datalist.json: the list '{section}' has no items.*{advice}"):
        items(save(tmp_path, training=[], validation=[], test=[]), section)


def test_no_training_items_when_asked(tmp_path: Path) -> None:
    path = save(tmp_path, test=[pair("a")])
    path.write_text(path.read_text(), encoding="utf-8-sig")  # edited on Windows
    assert load(path)["training"] == []
    with pytest.raises(InputError, match="'training' has no items"):
        load(path, require=("training",))


def test_missing_label_unknown_section_and_class_names(tmp_path: Path) -> None:
    path = save(tmp_path, class_names=NAMES, training=[{"image": "a.nii.gz"}])
    with pytest.raises(InputError, match=r"a\.nii\.gz has no label"):
        items(path, "training")
    with pytest.raises(InputError, match="'train' is not one of training, validation, test"):
        items(path, "train")
    with pytest.raises(InputError, match=r"class_names of the run .*'kidney'.* differ"):
        items(path, "training", class_names=["background", "kidney"], need_label=False)


@pytest.mark.parametrize(
    ("text", "reason"), [(None, "there is no such datalist"), ("{oops", "not valid JSON"), ("[]", "list")]
)
def test_unreadable_files(tmp_path: Path, text: str | None, reason: str) -> None:
    path = tmp_path / "datalist.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=rf"datalist\.json: .*{reason}"):
        load(path)


def test_write_is_stable_validated_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "new" / "datalist.json"
    write(path, {"training": [pair("a")], "class_names": NAMES})
    first = path.read_bytes()
    write(path, {"class_names": NAMES, "training": [dict(reversed(pair("a").items()))]})
    assert path.read_bytes() == first
    with pytest.raises(InputError, match="not written, unknown key 'trainig'"):
        write(path, {"trainig": []})
    assert path.read_bytes() == first
    assert [file.name for file in path.parent.iterdir()] == ["datalist.json"]


@settings(max_examples=30, deadline=None)
@given(st.permutations(["a", "b", "c", "d"]))
def test_fingerprint_ignores_order_and_place(tmp_path_factory: pytest.TempPathFactory, order: list[str]) -> None:
    prints = []
    for names in (order, ["a", "b", "c", "d"]):
        folder = tmp_path_factory.mktemp("data")
        for name in names:
            (folder / name).write_bytes(name.encode() * 70000)
        prints.append(fingerprint([{"image": str(folder / name), "unlabelled": []} for name in names]))
    assert prints[0] == prints[1]


def test_fingerprint_sees_content_label_and_absence(tmp_path: Path) -> None:
    file = tmp_path / "a"
    item = {"image": str(file), "label": 1, "unlabelled": []}
    seen = set()
    for content in (b"x" * 200_000, b"x" * 199_999 + b"y", b"y" + b"x" * 199_999, b""):
        file.write_bytes(content)
        seen.add(fingerprint([item]))
    seen.add(fingerprint([{**item, "label": 0}]))
    seen.add(fingerprint([{**item, "unlabelled": ["liver"]}]))
    assert len(seen) == 6
    file.unlink()
    with pytest.raises(InputError, match=r"a: the datalist names it, but it cannot be read"):
        fingerprint([item])


def test_sequences_and_convention_of_the_list_and_of_an_item(tmp_path: Path) -> None:
    table = {"2": "tumour core", "1": "oedema"}
    other = {"image": "b.nii.gz", "label": "c.nii.gz", "sequences": ["t2w", "FLAIR"], "label_convention": table}
    path = save(tmp_path, sequences=["FLAIR", "T1w"], label_convention="msd", training=[pair("a"), other])
    first, second = items(path, "training")
    assert (first["sequences"], first["label_convention"], first["unlabelled"]) == (["flair", "t1"], "msd", [])
    assert second["sequences"] == ["t2", "flair"]
    assert json.loads(second["label_convention"]) == {"0": "background", "1": "oedema", "2": "tumour core"}
    assert second["unlabelled"] == ["ET", "NCR/NET"]  # an undivided core does not tell them
    plain = items(save(tmp_path, training=[pair("a")]), "training")[0]
    assert not {"sequences", "label_convention"} & set(plain)


def test_unlabelled_regions_are_those_of_the_run(tmp_path: Path) -> None:
    regions = ["background", "TC", "WT", "ET"]
    whole = {"label_convention": {"1": "whole tumour"}, "unlabelled": ["ET"]}
    path = save(tmp_path, class_names=regions, training=[pair("a", **whole), pair("b", label_convention="msd")])
    first, second = items(path, "training", class_names=regions)
    assert first["unlabelled"] == ["ET", "TC"]
    assert second["unlabelled"] == []


def test_the_convention_of_the_run_takes_the_place_of_all_others(tmp_path: Path) -> None:
    path = save(tmp_path, label_convention="msd", training=[pair("a"), pair("b", label_convention="brats2018")])
    assert [item["label_convention"] for item in items(path, "training")] == ["msd", "brats2018"]
    given = items(path, "training", label_convention="brats2023")
    assert [item["label_convention"] for item in given] == ["brats2023"] * 2
    before = parse(path)
    changed = with_convention(before, {"1": "whole tumour"})
    assert [item["unlabelled"] for item in prepare(changed, "training", path)] == [["TC", "ET", "NCR/NET"]] * 2
    assert before == parse(path)
    with pytest.raises(InputError, match="label_convention is 'brats'"):
        items(path, "training", label_convention="brats")


def test_write_refuses_wrong_sequences_and_conventions(tmp_path: Path) -> None:
    path = tmp_path / "datalist.json"
    for wrong in ({"sequences": ["t1", "t1n"]}, {"label_convention": "brats"}):
        with pytest.raises(InputError, match="not written"):
            write(path, {"training": [pair("a")], **wrong})
    assert not path.exists()


def test_fingerprint_sees_sequences_and_convention(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"x")
    item = {"image": str(file), "label": 1, "unlabelled": []}
    ways: list[dict[str, Any]] = [{}, {"sequences": ["t1"]}, {"sequences": ["t2"]}]
    ways += [{"label_convention": "msd"}, {"label_convention": "brats2023"}]
    assert len({fingerprint([{**item, **way}]) for way in ways}) == len(ways)


LABELS = st.one_of(st.none(), st.lists(st.sampled_from([0, 1, None]), min_size=2, max_size=2))


@given(st.lists(LABELS, max_size=5), st.text(max_size=20))
def test_a_classification_list_has_a_line_for_each_item(
    tmp_path_factory: pytest.TempPathFactory, labels: list[Any], description: str
) -> None:
    entries = [
        {"image": f'a "{index}"\n.png', "patient_id": "p", **({} if label is None else {"label": label})}
        for index, label in enumerate(labels)
    ]
    content = {"task": "multi_label", "class_names": ["Mass", "Edema"], "description": description, "training": entries}
    path = tmp_path_factory.mktemp("list") / "datalist.json"
    write(path, content)
    assert json.loads(path.read_text(encoding="utf-8")) == content
    assert parse(path)["training"] == entries
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 6 + (1 + len(entries) if entries else 0)
    assert sum("patient_id" in line for line in lines) == len(entries)


def test_findings_and_classes_pass_through(tmp_path: Path) -> None:
    labels = [[0, None], [1, 0], [None, None]]
    training = [
        {"image": f"img/{index}.png", "label": label, "patient_id": index} for index, label in enumerate(labels)
    ]
    path = tmp_path / "datalist.json"
    write(path, {"task": "multi_label", "class_names": ["Mass", "Edema"], "training": training})
    read = items(path, "training", class_names=["Mass", "Edema"])
    assert [item["label"] for item in read] == labels
    assert [(item["case"], item["patient_id"]) for item in read] == [("0", "0"), ("1", "1"), ("2", "2")]
    assert fingerprint_differs(tmp_path, read)
    with pytest.raises(InputError, match=r"'label' has 2 values, and there are 1 class_names; give each finding one"):
        write(path, {"task": "multi_label", "class_names": ["Mass"], "training": training})


def fingerprint_differs(folder: Path, read: list[dict[str, Any]]) -> bool:
    """Whether an unknown finding and a negative one have different fingerprints."""
    (folder / "img").mkdir()
    for item in read:
        Path(item["image"]).touch()
    known = [{**read[0], "label": [0, 0]}, *read[1:]]
    return fingerprint(read) != fingerprint(known)


def test_items_say_what_their_masks_mean(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    content = {"class_names": ["background", "nucleus"], "training": [{"image": "a.png", "label": "b.png"}]}
    write(path, content)
    assert "mask_kind" not in items(path, "training")[0]
    write(path, {**content, "mask_kind": "instance"})
    assert items(path, "training")[0]["mask_kind"] == "instance"


def test_a_list_that_was_never_checked_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path, training=[pair("a")], validation=[pair("b")])
    for section in ("training", "validation"):
        items(path, section)
    assert capsys.readouterr().out.count("no report of a check lies beside") == 1
    report = {"datalist_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    (tmp_path / "b" / "check").mkdir(parents=True)
    (tmp_path / "b" / "check" / "check.json").write_text(json.dumps(report))
    items(path.rename(tmp_path / "b" / path.name), "training")
    assert "no report" not in capsys.readouterr().out
    save(tmp_path / "b", training=[pair("c")])
    module._tell_if_unchecked.cache_clear()
    items(tmp_path / "b" / path.name, "training")
    assert "as it is now; `python -m mae_tools check" in capsys.readouterr().out
