"""Prepared items, the description of transforms, and the cache on disk."""

import functools
import os
import runpy
from pathlib import Path

import launch
import numpy as np
import pytest
import torch
from bundle_runtime.data.cache import DiskCache, Prepared, describe, files_of, to_plain
from bundle_runtime.data.verify import edges_of
from custom_components.errors import InputError
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImaged, Orientationd, ScaleIntensityRanged, Spacingd

PIPELINE = """
from monai.transforms import *
from bundle_runtime.data.cache import describe
def double(x):
    return (lambda y: y * 2)(x)
print(describe(Compose([LoadImaged(keys=['image', 'label'], reader='NibabelReader', ensure_channel_first=True),
    Orientationd(keys=['image', 'label'], axcodes='RAS', labels=None),
    Spacingd(keys=['image', 'label'], pixdim=(1.5, 1.5, 2.0), mode=('bilinear', 'nearest')),
    CropForegroundd(keys=['image', 'label'], source_key='image', allow_smaller=True),
    SelectItemsd(keys=list({'image', 'label'}) and ['image', 'label']), Lambdad(keys='image', func=double),
    AddExtremePointsChanneld]).transforms))
"""


def test_a_pipeline_is_described_alike_in_every_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "pipeline.py"
    script.write_text(PIPELINE)
    runpy.run_path(str(script), run_name="__main__")
    here = capsys.readouterr().out
    there = launch.run(script).stdout  # by an interpreter with other addresses and another order of sets
    assert here == there
    assert " at 0x" not in here


def test_changes_of_any_parameter_show() -> None:
    def scale(**changes: object) -> str:
        return describe(ScaleIntensityRanged(**{"keys": "image", "a_min": -175, "a_max": 250, "clip": True, **changes}))

    assert scale() == scale()
    assert len({scale(), scale(a_min=-174), scale(clip=False), scale(keys="label"), scale(b_max=1.0)}) == 5
    pixdims = [describe(Spacingd(keys="image", pixdim=(1.5, 1.5, z))) for z in (1.5, 2.0)]
    assert pixdims[0] != pixdims[1]
    assert describe(Compose([LoadImaged("a"), Orientationd("a", axcodes="RAS")])) != describe(
        Compose([LoadImaged("a"), Orientationd("a", axcodes="LPS")])
    )


def test_functions_differ_by_what_they_do() -> None:
    def adder(number: int) -> object:
        return lambda x: x + number

    values = [
        adder(1),
        adder(2),
        functools.partial(pow, 2),
        functools.partial(pow, 3),
        np.exp,
        torch.exp,
        lambda x: x * 3,
    ]
    assert len({describe(value) for value in values}) == len(values)
    assert describe(adder(1)) == describe(adder(1))


def test_description_ends_for_objects_that_hold_themselves() -> None:
    loop: list = [1]
    loop.append(loop)
    assert "cycle" in describe(loop)
    assert describe({1, 2, 3}) == describe({3, 2, 1})
    assert describe({"a": 1, "b": 2}) == describe({"b": 2, "a": 1})
    assert describe(np.arange(3)) != describe(np.arange(4))
    assert describe(1) != describe(1.0) != describe("1.0")


def test_items_become_plain() -> None:
    image = MetaTensor(torch.rand(1, 4, 4), affine=torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0])))
    item = {"image": image, "box": np.arange(3), "age": np.float32(3), "path": Path("a/b"), "names": ("x", None)}
    prepared = Prepared.of(item)
    assert type(prepared.item["image"]) is torch.Tensor
    assert prepared.item["box"].tolist() == [0, 1, 2]
    assert prepared.item["age"] == 3.0
    assert prepared.item["path"] == "a/b"
    assert prepared.item["names"] == ["x", None]
    again = prepared.with_meta()
    torch.testing.assert_close(again["image"].affine, image.affine)
    assert type(again["box"]) is torch.Tensor


def test_a_view_does_not_carry_the_whole_volume() -> None:
    crop = to_plain({"image": torch.rand(1, 50, 50)[:, :2, :2]})["image"]
    assert crop.untyped_storage().nbytes() == crop.nbytes == 16


def test_what_cannot_be_stored_is_named() -> None:
    with pytest.raises(TypeError, match=r"'reader' is a <class 'object'>"):
        to_plain({"reader": object()})


def test_files_of_an_item(tmp_path: Path) -> None:
    series = tmp_path / "series"
    series.mkdir()
    names = [tmp_path / "a.nii", tmp_path / "b.nii", series / "1.dcm", series / "2.dcm"]
    for name in names:
        name.write_bytes(b"x")
    item = {"image": [str(names[0]), names[1]], "series": str(series), "organ": "liver", "label": 3, "empty": ""}
    assert list(files_of(item)) == names


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
def test_the_voxels_of_a_header_are_a_file_of_the_item(tmp_path: Path, ending: str) -> None:
    import itk

    file = tmp_path / f"a[1]{ending}"
    cache, found = DiskCache(tmp_path / "cache", []), []
    for number in (0, 1):
        itk.imwrite(itk.image_from_array(np.full((4, 5, 6), number, np.int16)), str(file))
        (data,) = {*tmp_path.glob("a*")} - {file}
        os.utime(data, (number, number))
        os.utime(file, (9, 9))
        assert list(files_of({"image": str(file)})) == [file, data]
        found.append((cache.path({"image": str(file)}), edges_of(str(file))))
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]
    text = file.read_text()
    numbered = text.replace(data.name, "s%02d.raw 1 2 1")
    for name in ("s01.raw", "s02.raw"):
        (tmp_path / name).write_bytes(b"x")
    file.write_text(numbered)
    assert [path.name for path in files_of([str(file)])] == [file.name, "s01.raw", "s02.raw"]
    file.write_text(text.replace(data.name, "LIST\ns01.raw\ns02.raw"))
    assert [path.name for path in files_of([str(file)])] == [file.name, "s01.raw", "s02.raw"]


@pytest.mark.parametrize("ending", [".dcm", "", ".1"])
def test_a_file_of_a_series_stands_for_those_beside_it(tmp_path: Path, ending: str) -> None:
    names = [tmp_path / f"{number}{ending}" for number in range(3)]
    for name in names:
        name.write_bytes(b"x")
    cache = DiskCache(tmp_path / "cache", [])
    before = cache.path({"image": str(names[1])})
    assert list(files_of([str(names[1])])) == names
    names[2].write_bytes(b"xy")
    assert cache.path({"image": str(names[1])}) != before


def cached(folder: Path) -> tuple[DiskCache, Path, Prepared]:
    cache = DiskCache(folder / "cache", [])
    prepared = Prepared({"image": torch.rand(1, 8, 8), "names": ["a"], "n": 3}, {"image": torch.eye(4)})
    path = cache.path({"image": "x"})
    cache.write(path, prepared)
    return cache, path, prepared


def test_what_was_written_is_read(tmp_path: Path) -> None:
    cache, path, prepared = cached(tmp_path)
    again = cache.read(path)
    assert again is not None
    torch.testing.assert_close(again.item["image"], prepared.item["image"], rtol=0, atol=0)
    assert again.item["names"] == ["a"]
    assert again.affines["image"].tolist() == torch.eye(4).tolist()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_writing_into_what_was_read_changes_no_file(tmp_path: Path) -> None:
    cache, path, prepared = cached(tmp_path)
    first = cache.read(path)
    assert first is not None
    first.item["image"].fill_(7)
    second = cache.read(path)
    assert second is not None
    torch.testing.assert_close(second.item["image"], prepared.item["image"], rtol=0, atol=0)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_broken_file_is_no_hit(tmp_path: Path, keep: float) -> None:
    cache, path, _ = cached(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(len(content) * keep)])
    with pytest.warns(UserWarning, match=f"{path.name} is broken and is made anew"):
        assert cache.read(path) is None


@pytest.mark.parametrize("content", [b"not a zip file at all", b"\x80\x04cos\nsystem\n"])
def test_a_foreign_file_is_no_hit_and_never_runs_code(tmp_path: Path, content: bytes) -> None:
    cache, path, _ = cached(tmp_path)
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="is broken"):
        assert cache.read(path) is None


def test_a_file_of_another_form_is_no_hit(tmp_path: Path) -> None:
    cache, path, _ = cached(tmp_path)
    torch.save({"something": 1}, path)
    with pytest.warns(UserWarning, match="is broken"):
        assert cache.read(path) is None


def test_a_full_disk_gets_a_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DiskCache(tmp_path / "cache", [])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"the disk of .*cache is too full: what is still .* free some space"):
        cache.write(cache.path({"image": "x"}), Prepared({"image": torch.rand(4)}, {}))
    assert not list(cache.folder.iterdir())


def test_a_file_in_the_way_of_the_folder_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(InputError, match=r"cache: the folder .*cache cannot be used \(File exists\); name one"):
        DiskCache(tmp_path / "cache", [])
