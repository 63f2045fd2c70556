import itertools
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runtime.data.dataset import PreparedDataset
from bundle_runtime.data.load_volumes import LoadVolumesd
from bundle_runtime.data.loading import loader
from bundle_runtime.data.record import record_of
from bundle_runtime.data.saving import SaveImageLabelMapd
from bundle_runtime.data.tissue_labels import TissueLabeld
from custom_components.errors import InputError
from head_files import REGION_NAMES, head
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.data import DataLoader, MetaTensor, decollate_batch
from monai.transforms import Compose, CropForegroundd, LoadImaged, NormalizeIntensityd, RandFlipd, Spacingd

NAMES = ["flair", "t1", "t1ce", "t2"]
AFFINE = np.array([[-1.0, 0, 0, 90], [0, -1, 0, 120], [0, 0, 1.5, -70], [0, 0, 0, 1]])
SHAPE = (7, 6, 5)


def volume(name: str) -> np.ndarray:
    """Voxels that tell which sequence they are of."""
    return np.random.default_rng(NAMES.index(name)).integers(1, 1000, SHAPE).astype(np.int16)


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> str:
    nib.save(nib.Nifti1Image(array, affine), path)
    return str(path)


def loads(sequences: list[str], keys: Any = "image", **more: Any) -> LoadVolumesd:
    return LoadVolumesd(keys, sequences=sequences, **more)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """One file a sequence."""
    return {name: save(tmp_path / f"{name}.nii.gz", volume(name)) for name in NAMES}


def item(files: dict[str, str], names: list[str], spellings: list[str] | None = None) -> dict[str, Any]:
    return {"image": [files[name] for name in names], "sequences": spellings or names, "case": "p1"}


def test_channels_come_in_the_order_of_the_network_and_as_float32(files: dict[str, str]) -> None:
    result = loads(["t1ce", "flair"])(item(files, ["t2", "flair", "t1ce"]))
    image = result["image"]
    assert isinstance(image, MetaTensor)
    assert (image.dtype, tuple(image.shape)) == (torch.float32, (2, *SHAPE))
    assert np.array_equal(image[0], volume("t1ce"))
    assert np.array_equal(image[1], volume("flair"))
    assert np.allclose(image.affine, AFFINE)
    assert set(result) == {"image", "case", "file", "warning"}  # a list of names would not collate


def test_equals_monais_loader_for_the_same_files(files: dict[str, str]) -> None:
    ours = loads(NAMES)(item(files, NAMES))["image"]
    stacked = LoadImaged("image", reader="NibabelReader", ensure_channel_first=True)(item(files, NAMES))["image"]
    assert torch.equal(ours.as_tensor(), stacked.as_tensor())
    assert torch.equal(ours.affine, stacked.affine)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(NAMES), st.lists(st.sampled_from(NAMES), min_size=1, unique=True), st.booleans())
def test_order_of_files_and_spelling_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, held: list[str], wanted: list[str], one_file: bool
) -> None:
    """Sequences are matched by name: a permuted list, or a permuted 4-D file, gives the same channels."""
    folder = tmp_path_factory.mktemp("case")
    spellings = {"flair": "T2-FLAIR", "t1": "T1n", "t1ce": "T1Gd", "t2": "T2w"}
    if one_file:
        image: Any = save(folder / "all.nii", np.stack([volume(name) for name in held], axis=-1))
    else:
        image = [save(folder / f"{name}.nii", volume(name)) for name in held]
    result = loads(wanted)({"image": image, "sequences": [spellings[name] for name in held]})["image"]
    assert np.array_equal(result, np.stack([volume(name) for name in wanted]))
    assert np.allclose(result.affine, AFFINE)


def test_a_missing_sequence_is_an_error_or_zeros_that_are_announced(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r"flair\.nii\.gz: has no t1 and no t1ce, only flair, t2.*allow_missing_seq"):
        loads(NAMES)(item(files, ["flair", "t2"]))
    image = loads(NAMES, allow_missing_sequences=True)(item(files, ["t2", "flair"]))["image"]
    assert "has no t1 and no t1ce: zeros stand in" in capsys.readouterr().err
    assert np.array_equal(image, np.stack([volume("flair"), np.zeros(SHAPE), np.zeros(SHAPE), volume("t2")]))
    # A z-score of non-zero voxels leaves the stand-in at zero.
    scored = NormalizeIntensityd("image", nonzero=True, channel_wise=True)({"image": image})["image"]
    assert scored[1].abs().max() == 0
    assert abs(float(scored[0].mean())) < 1e-5
    other = str(Path(files["t1"]).rename(Path(files["t1"]).with_name("scan.nii.gz")))
    with pytest.raises(InputError, match="has none of the sequences flair; it is said to hold swi"):
        loads(["flair"], allow_missing_sequences=True)({"image": other, "sequences": ["swi"]})


def test_files_that_are_not_wanted_are_not_opened(files: dict[str, str], tmp_path: Path) -> None:
    files = {**files, "adc": str(tmp_path / "is_not_there.nii.gz")}
    image = loads(["flair"])(item(files, ["adc", "flair"]))["image"]
    assert np.array_equal(image[0], volume("flair"))


def test_the_item_names_the_file_whose_grid_the_image_has(files: dict[str, str], tmp_path: Path) -> None:
    """A label map is written with the header of `file`: that of a file left out would put it elsewhere."""
    moved = AFFINE.copy()
    moved[0, 3] += 7
    files = {**files, "flair": save(tmp_path / "moved.nii.gz", volume("flair"), moved)}
    entry = {**item(files, ["flair", "t2", "t1ce"]), "file": files["flair"]}
    result = loads(["t1ce", "t2"], header=True)(entry)
    assert result["file"] == files["t1ce"]
    written = nib.load(SaveImageLabelMapd("image", str(tmp_path / "out"), dtype="float32")(result)["image_path"])
    assert np.allclose(written.affine, AFFINE)
    away = loads(["flair"], header=True)(item(files, ["flair"]))
    with pytest.raises(InputError, match=r"moved\.nii\.gz: the result lies 7 voxels off the grid of the image"):
        SaveImageLabelMapd("image", str(tmp_path / "out"))({**result, "file": away["file"], "header": away["header"]})
    stacked = save(tmp_path / "all.nii.gz", np.stack([volume(name) for name in NAMES], axis=-1))
    assert loads(["t2"])({"image": stacked, "sequences": NAMES})["file"] == stacked


def test_files_on_different_grids_are_refused(files: dict[str, str], tmp_path: Path) -> None:
    """MONAI's loader of a list of files shows two matrices and does not say which file to look at."""
    moved = AFFINE.copy()
    moved[0, 3] += 0.5
    other = {**files, "t2": save(tmp_path / "moved.nii.gz", volume("t2"), moved)}
    with pytest.raises(InputError, match=r"moved\.nii\.gz: lies up to 0\.5 voxels away from the first image"):
        loads(NAMES)(item(other, NAMES))
    other["t2"] = save(tmp_path / "short.nii.gz", volume("t2")[:, :, :-1])
    with pytest.raises(InputError, match=r"short\.nii\.gz: has shape \(7, 6, 4\) but the first image has \(7, 6, 5\)"):
        loads(NAMES)(item(other, NAMES))
    rounded = AFFINE + 1e-5 * np.eye(4)  # what two writers of one header make of it
    other["t2"] = save(tmp_path / "rounded.nii.gz", volume("t2"), rounded)
    assert loads(NAMES)(item(other, NAMES))["image"].shape[0] == 4


def test_numbers_of_files_volumes_and_names_must_agree(files: dict[str, str], tmp_path: Path) -> None:
    three = save(tmp_path / "three.nii.gz", np.stack([volume(name) for name in NAMES[:3]], axis=-1))
    with pytest.raises(InputError, match=r"three\.nii\.gz: has shape .*: 3 volume\(s\), but 4 sequences are named"):
        loads(NAMES)({"image": three, "sequences": NAMES})
    with pytest.raises(InputError, match=r"the item has 3 files but names 4 sequences"):
        loads(NAMES)(item(files, NAMES[:3], NAMES))
    with pytest.raises(InputError, match=r"three\.nii\.gz: has shape .*: 3 volumes, but one sequence is named"):
        loads(NAMES)(item({**files, "t2": three}, NAMES))
    with pytest.raises(InputError, match="nothing says which sequences this item holds"):
        loads(NAMES)({"image": files["t1"]})
    with pytest.raises(InputError, match="expected different sequence names"):
        loads(["t1", "T1n"])


def test_without_sequences_it_equals_monais_loader(tmp_path: Path) -> None:
    """Also where the file scales its voxels, and where its header had to be corrected."""
    scaled = nib.Nifti1Image(volume("t1"), AFFINE)
    scaled.header.set_slope_inter(0.1, -3)
    nib.save(
        nib.Nifti1Image(np.asarray(scaled.dataobj, np.float64) * 0.1 - 3, AFFINE, scaled.header), tmp_path / "a.nii"
    )
    save(tmp_path / "b.nii.gz", np.stack([volume("t1"), volume("t2")], axis=-1))
    save(tmp_path / "c.nii.gz", volume("flair").astype(">f4"))
    plain = nib.load(save(tmp_path / "d.nii", volume("t1")))
    plain.header["pixdim"][1:4] = 3
    plain.header["qform_code"] = 0
    (tmp_path / "d.nii").write_bytes(plain.to_bytes())
    for name, channels in (("a.nii", 1), ("b.nii.gz", 2), ("c.nii.gz", 1), ("d.nii", 1)):
        entry = {"image": str(tmp_path / name), "case": "p"}
        ours = LoadVolumesd("image", channels=channels)(entry)["image"]
        theirs = LoadImaged("image", reader="NibabelReader", ensure_channel_first=True)(entry)["image"]
        assert torch.equal(ours.as_tensor(), theirs.as_tensor()), name
        assert ours.meta.keys() == theirs.meta.keys()
        assert torch.equal(ours.affine, theirs.affine), name


def test_two_files_without_names_are_stacked(files: dict[str, str]) -> None:
    image = LoadVolumesd("image", channels=2)({"image": [files["t2"], files["t1"]], "case": "p"})["image"]
    assert np.array_equal(image, np.stack([volume("t2"), volume("t1")]))


def test_what_a_file_holds_is_verified_while_it_is_loaded(tmp_path: Path) -> None:
    """The label's grid, its values, NaN: several errors of one item, in the words of the check."""
    image = volume("t1").astype(np.float32)
    image[0, 0, :2] = np.nan
    label = np.full(SHAPE, 7, np.uint8)
    entry = {
        "image": save(tmp_path / "a.nii.gz", image),
        "label": save(tmp_path / "l.nii.gz", label),
        "case": "p",
        "unlabelled": [],
    }
    load = LoadVolumesd(class_names=["background", "liver"], roi_size=8)
    _, found = load.look(entry)
    assert [problem.level for problem in found.problems] == ["error", "warning", "error"]
    assert "holds 2 NaN or Inf voxels" in found.problems[0].message
    assert "smaller than the ROI (8, 8, 8)" in found.problems[1].message
    assert "holds the value(s) 7, expected 0 to 1" in found.problems[2].message
    assert set(found.edges) == {entry["image"], entry["label"]}
    with pytest.raises(InputError, match=r"a\.nii\.gz: holds 2 NaN .*\(and 1 more\); python -m mae_tools check shows"):
        load(entry)
    assert LoadVolumesd("image", channels=1).look({**entry, "image": files_of(tmp_path)})[1].problems == []


def files_of(folder: Path) -> str:
    return save(folder / "good.nii.gz", volume("t2"))


def case(files: dict[str, str], folder: Path, number: int) -> dict[str, Any]:
    label = np.random.default_rng(number).choice(np.array([0, 1, 2, 4], np.uint8), SHAPE)
    drawn = {"label": save(folder / f"seg{number}.nii.gz", label), "label_convention": "brats2018", "unlabelled": []}
    return {**item(files, NAMES), **drawn, "case": f"p{number}", "patient_id": f"p{number}", "file": files["flair"]}


def steps() -> list[Any]:
    return [
        loads(["t2", "t1"], keys=["image", "label"]),
        TissueLabeld(),
        Spacingd(["image", "label"], pixdim=[1.0, 1.0, 1.0], mode=["bilinear", "nearest"]),
        CropForegroundd(["image", "label"], source_key="image", allow_smaller=True),
    ]


@pytest.mark.parametrize("cache", ["none", "ram", "disk"])
def test_items_survive_the_cache_and_collation(files: dict[str, str], tmp_path: Path, cache: str) -> None:
    items = [case(files, tmp_path, number) for number in range(2)]
    folder = str(tmp_path / "cache") if cache == "disk" else cache
    direct = [Compose(steps())(dict(entry)) for entry in items]
    for _ in range(2):  # made, then read back
        dataset = PreparedDataset(
            items, [*steps(), RandFlipd("image", prob=0.0)], folder, progress=False, track_meta=True
        )
        batches = list(DataLoader(dataset, batch_size=1))
        for batch, expected in zip(batches, direct, strict=True):
            (back,) = decollate_batch(batch)
            for key in ("image", "label"):
                assert torch.equal(back[key].as_tensor(), expected[key].as_tensor())
                assert torch.allclose(back[key].affine, expected[key].affine)
            assert back["case"] == expected["case"]
            assert "label_convention" not in back  # Spacingd would write into a key that starts with "label_"
    batch = next(iter(loader(PreparedDataset(items, steps(), folder, progress=False), 2)))
    assert tuple(batch["image"].shape[:2]) == (2, 2)


def test_real_heads(real_data: Path) -> None:
    """Two data sets, one sequence a file; every order of the files gives the same image."""
    for folder in sorted((real_data / "brain_mri" / "brats4mod").iterdir()):
        paths = {name: str(next(folder.glob(f"*_{name}.nii.gz"))) for name in NAMES}
        images = [
            loads(NAMES)(item(paths, list(order)))["image"]
            for order in itertools.islice(itertools.permutations(NAMES), 0, 24, 11)
        ]
        assert images[0].shape[0] == 4
        assert all(torch.equal(image, images[0]) for image in images)
        assert [bool((channel != 0).any()) for channel in images[0]] == [True] * 4


def bodies(folder: Path, count: int, start: int = 0) -> list[dict[str, Any]]:
    found = []
    for seed in range(start, start + count):
        case = head(folder, f"p{seed}", seed=seed)
        found.append({**case, "patient_id": case["case"], "section": "training"})
    return found


def test_what_a_check_says_of_a_case_is_its_warning(tmp_path: Path) -> None:
    """Flips, the order of its axes, tissues with exchanged names: after a training, without a check."""
    wanted = {"sequences": NAMES, "class_names": REGION_NAMES}
    trained = PreparedDataset(bodies(tmp_path, 5), [LoadVolumesd(**wanted)], progress=False)
    record = record_of(trained, REGION_NAMES)
    load = LoadVolumesd(record=record, **wanted)
    (usual,) = bodies(tmp_path, 1, start=6)
    assert load(usual)["warning"] == ""
    (turned,) = bodies(tmp_path, 1, start=7)
    for file in [*turned["image"], turned["label"]]:
        image = nib.load(file)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine @ np.diag([1.0, -1, 1, 1])), file)
    said = load(turned)["warning"]
    assert "looks flipped front-back" in said
    assert "against those of the training" in said
    assert "is stored as RPS, those of the training as RAS" in said
    table = '{"1": "oedema", "2": "non-enhancing core", "4": "enhancing tumour"}'
    exchanged = load({**usual, "label_convention": table})
    assert "has the non-enhancing core around the oedema" in exchanged["warning"]
