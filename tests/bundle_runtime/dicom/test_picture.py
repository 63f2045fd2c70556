"""DICOM pictures against pydicom's own windowing, and every way in which such a file can be no picture."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from bundle_runtime.data.image_file import read_picture
from bundle_runtime.data.verify_pictures import Seen
from bundle_runtime.dicom.picture import apply_window, is_dicom, read_dicom
from custom_components.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import dataset, dicom, encoded, shades
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi, apply_voi_lut, apply_windowing, pixel_array
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, RLELossless

STORED = (shades().astype(np.uint16) * 16 + 5).clip(0, 4095)  # 12 bits in 16


def read(data: Dataset) -> np.ndarray:
    return read_dicom("x.dcm", content=encoded(data)).pixels


@settings(deadline=None)
@given(
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    centre=st.floats(-500, 5000, width=16),
    width=st.integers(1, 6000),
    slope=st.sampled_from([1.0, 0.5, 2.0]),
    intercept=st.sampled_from([0.0, -1024.0]),
)
def test_the_window_is_that_of_pydicom(
    function: str, centre: float, width: int, slope: float, intercept: float
) -> None:
    elements = {"WindowCenter": centre, "WindowWidth": width, "VOILUTFunction": function}
    data = dataset(STORED, RescaleSlope=slope, RescaleIntercept=intercept, **elements)
    ours = read(data)
    theirs = apply_windowing(apply_modality_lut(STORED, data), data)
    low, high = intercept, 4095 * slope + intercept  # pydicom's output range for 12 unsigned bits
    np.testing.assert_allclose(ours[0], (theirs - low) / (high - low), atol=1e-5)
    assert ours.dtype == np.float32


def test_the_first_of_several_windows_counts() -> None:
    several = dataset(STORED, WindowCenter=[500, 2000], WindowWidth=[300, 4000])
    one = dataset(STORED, WindowCenter=500, WindowWidth=300)
    np.testing.assert_array_equal(read(several), read(one))


@pytest.mark.parametrize(
    ("stated", "meant"), [({"RescaleIntercept": -1024}, (1, -1024)), ({"RescaleSlope": 2}, (2, 0))]
)
def test_one_of_slope_and_intercept(stated: dict[str, float], meant: tuple[float, float]) -> None:
    """The window is meant for rescaled values, whichever of the two a file leaves out."""
    whole = dataset(STORED, RescaleSlope=meant[0], RescaleIntercept=meant[1], WindowCenter=40, WindowWidth=900)
    np.testing.assert_array_equal(read(dataset(STORED, WindowCenter=40, WindowWidth=900, **stated)), read(whole))


def test_a_centre_of_zero_is_a_window() -> None:
    signed = STORED.astype(np.int16) - 2048
    pixels = read(dataset(signed, WindowCenter=0, WindowWidth=400))
    np.testing.assert_array_equal(pixels[0], apply_window(signed, 0, 400))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("elements", [{}, {"WindowCenter": 1000, "WindowWidth": 1500}])
def test_monochrome1_is_inverted_after_the_window(photometric: str, elements: dict[str, int]) -> None:
    dark = read(dataset(STORED, "MONOCHROME2", **elements))
    pixels = read(dataset(STORED, photometric, **elements))
    np.testing.assert_allclose(pixels, dark if photometric == "MONOCHROME2" else 1 - dark, atol=1e-6)
    # Inverting the stored values first would have shifted the window.
    assert np.mean(pixels[0][np.median(STORED) < STORED]) > 0.5 or photometric == "MONOCHROME1"


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"WindowCenter": 100, "WindowWidth": 0},
        {"WindowCenter": "", "WindowWidth": ""},
        {"WindowWidth": 200},
        {"WindowCenter": 100, "WindowWidth": 200, "VOILUTFunction": "CURVED"},
    ],
)
def test_without_a_usable_window_percentiles_become_black_and_white(elements: dict[str, Any]) -> None:
    stored = STORED.copy()
    stored[0, 0] = 65535  # a dead pixel must not darken the rest
    pixels = read(dataset(stored, bits=16, **elements))[0]
    low, high = np.percentile(stored, (0.1, 99.9))
    np.testing.assert_allclose(pixels, np.clip((stored - low) / (high - low), 0, 1), atol=1e-6)


def test_padding_takes_no_part_and_is_black() -> None:
    stored = STORED.astype(np.int16)
    inner = stored[10:30, 10:40].copy()
    stored[:], stored[10:30, 10:40] = -2000, inner
    pixels = read(dataset(stored, bits=16, PixelPaddingValue=-2000))[0]
    np.testing.assert_allclose(pixels[10:30, 10:40], read(dataset(inner, bits=16))[0], atol=1e-6)
    inverted = read(dataset(stored, "MONOCHROME1", bits=16, PixelPaddingValue=-2000))[0]
    for picture in (pixels, inverted):
        assert not picture[:10].any()
        assert picture[10:30, 10:40].max() == 1
    ranged = read(dataset(stored, bits=16, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1500))[0]
    np.testing.assert_array_equal(ranged, pixels)


@pytest.mark.parametrize("signed", [True, False])
def test_padding_that_is_stated_with_the_other_sign(signed: bool) -> None:
    """Scanners write 63536 for -2000; it must not become the lowest value of the picture."""
    stored = STORED.astype(np.int16 if signed else np.uint16)
    stored[:10] = padding = -2000 if signed else 63536
    right = dataset(stored, bits=16, PixelPaddingValue=padding)
    data = dataset(stored, bits=16)
    data.add_new("PixelPaddingValue", "US" if signed else "SS", 63536 if signed else -2000)
    np.testing.assert_array_equal(read(data), read(right))
    assert not read(data)[0][:10].any()


def _table(entries: list[int], first: int, bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(entries), first, bits], entries
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    return item


def test_a_voi_table_goes_before_a_window() -> None:
    table = _table([int(16383 * (k / 2999) ** 2) for k in range(3000)], 500, 14)
    data = dataset(STORED, VOILUTSequence=[table], WindowCenter=100, WindowWidth=200)
    # pydicom gives entry 0 to values below the table, but its result for those is checked apart.
    np.testing.assert_allclose(read(data)[0], apply_voi(STORED, data) / 16383, atol=1e-6)
    assert not read(data)[0][STORED <= 500].any()


def test_a_table_for_signed_values_whose_beginning_is_stated_as_unsigned() -> None:
    stored = STORED.astype(np.int16) - 1024
    entries = list(range(4096))
    right, wrong = _table(entries, -1024, 12), _table(entries, 65536 - 1024, 12)
    right["LUTDescriptor"].VR = "SS"
    pixels = read(dataset(stored, bits=16, VOILUTSequence=[wrong]))
    np.testing.assert_array_equal(pixels, read(dataset(stored, bits=16, VOILUTSequence=[right])))
    np.testing.assert_allclose(pixels[0], STORED / 4095, atol=1e-6)


def test_a_table_with_8_bit_entries_does_not_wrap() -> None:
    """pydicom shifts values in the type of the entries, so that 256 becomes 0."""
    table = _table(list(range(256)), 0, 8)
    pixels = read(dataset(STORED, VOILUTSequence=[table]))[0]
    np.testing.assert_allclose(pixels, np.minimum(STORED, 255) / 255, atol=1e-6)


def test_a_modality_table_goes_before_the_window() -> None:
    table = _table([4095 - k for k in range(4096)], 0, 12)
    table.ModalityLUTType = "OD"
    turned = read(dataset(STORED, ModalityLUTSequence=[table], WindowCenter=1000, WindowWidth=1500))
    plain = read(dataset((4095 - STORED).astype(np.uint16), WindowCenter=1000, WindowWidth=1500))
    np.testing.assert_array_equal(turned, plain)


def test_an_enhanced_object_states_window_and_rescaling_by_frame() -> None:
    def group(centre: float, intercept: float | None = None) -> Dataset:
        result, window = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = centre, 800
        result.FrameVOILUTSequence = [window]
        if intercept is not None:
            rescale = Dataset()
            rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 1, intercept, "US"
            result.PixelValueTransformationSequence = [rescale]
        return result

    groups = {"SharedFunctionalGroupsSequence": [group(0, -700)], "PerFrameFunctionalGroupsSequence": [group(600)]}
    pixels = read(dataset(STORED, bits=16, **groups))
    np.testing.assert_array_equal(pixels[0], apply_window(STORED - 700.0, 600, 800))


def test_a_multi_frame_file_is_refused_by_its_element() -> None:
    frames = np.stack([STORED, STORED // 2, STORED // 4])
    with pytest.raises(InputError, match=r"x\.dcm: NumberOfFrames is 3, expected a single picture"):
        read(dataset(frames))


def test_colour_comes_as_rgb() -> None:
    rgb = shades(channels=3)
    np.testing.assert_allclose(read(dataset(rgb, "RGB", bits=8)), np.moveaxis(rgb / 255, -1, 0), atol=1e-6)
    grey = np.stack([shades(), np.full((40, 50), 128, np.uint8), np.full((40, 50), 128, np.uint8)], -1)
    pixels = read(dataset(grey, "YBR_FULL", bits=8))
    np.testing.assert_allclose(pixels, np.repeat(shades()[None] / 255, 3, 0), atol=1.01 / 255)


def test_a_palette_is_expanded() -> None:
    index = (shades() // 64).astype(np.uint8)
    colours = np.array([[0, 0, 0], [65535, 0, 0], [0, 65535, 0], [13107, 26214, 39321]], np.uint16)
    data = dataset(index, "PALETTE COLOR", bits=8)
    for column, name in enumerate(("Red", "Green", "Blue")):
        setattr(data, f"{name}PaletteColorLookupTableDescriptor", [4, 0, 16])
        data[f"{name}PaletteColorLookupTableDescriptor"].VR = "US"
        setattr(data, f"{name}PaletteColorLookupTableData", colours[:, column].tobytes())
    np.testing.assert_allclose(read(data), np.moveaxis(colours[index] / 65535, -1, 0), atol=1e-6)


def test_what_the_header_says() -> None:
    told = dataset(STORED, ViewPosition="PA")
    assert read_dicom("x.dcm", content=encoded(told))[1:4] == ("P7", "CR", "PA")
    assert read_dicom("x.dcm", content=encoded(dataset(STORED, PatientID=None)))[1:4] == ("", "CR", "")


@pytest.mark.parametrize(
    ("elements", "oblong"),
    [
        ({}, False),
        ({"PixelSpacing": [0.2, 0.2]}, False),
        ({"PixelSpacing": [0.2, 0.205]}, False),
        ({"PixelSpacing": [0.2, 0.3]}, True),
        ({"ImagerPixelSpacing": [0.3, 0.2]}, True),
        ({"PixelAspectRatio": [4, 3]}, True),
        ({"PixelAspectRatio": [1, 1], "PixelSpacing": [0, 0]}, False),
        ({"PixelSpacing": [0.2, 0.2], "PixelAspectRatio": [4, 3]}, False),
    ],
)
def test_pixels_that_are_not_square(elements: dict[str, Any], oblong: bool) -> None:
    content = encoded(dataset(STORED, **elements))
    assert read_dicom("x.dcm", content=content).oblong == oblong
    picture = read_picture("x.dcm", content)
    said = ["holds DICOM CR of oblong pixels, which are taken for squares"] * oblong
    assert Seen("", picture.kind, 99, 99).doubts() == said


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_lossless_compression_changes_nothing(tmp_path: Path, syntax: Any) -> None:
    window = {"WindowCenter": 800, "WindowWidth": 2000}
    packed = read_dicom(dicom(tmp_path / "a.dcm", STORED, syntax, **window))
    np.testing.assert_array_equal(packed.pixels, read(dataset(STORED, **window)))


@pytest.mark.parametrize(
    ("elements", "text"),
    [
        ({"Modality": "SEG"}, r"is a segmentation \(SEG\), expected a picture"),
        ({"Modality": "SR", "PixelData": None}, r"is a structured report \(SR\)"),
        ({"PixelData": None}, r"has no pixel data \(modality CR\)"),
        ({"Rows": 4000}, r"is truncated or damaged"),
        ({"BitsStored": None}, r"cannot be shown as a picture \(.*'Bits Stored'\)"),
    ],
)
def test_what_is_no_picture_is_refused(elements: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=rf"^x\.dcm: {text}"):
        read(dataset(STORED, **elements))


def test_a_file_without_the_usual_beginning() -> None:
    content = encoded(dataset(STORED))
    assert is_dicom(content)
    bare = content[content.index(b"\x08\x00\x16\x00") :]  # from the SOP class on
    assert not is_dicom(bare)
    np.testing.assert_array_equal(read_dicom("x", content=bare).pixels, read_dicom("x", content=content).pixels)
    for rubbish in (b"not at all", b"\x89PNG" + bytes(400)):
        with pytest.raises(InputError, match=r"^x: "):
            read_dicom("x", content=rubbish)
    with pytest.raises(InputError, match="cannot be read"):
        read_dicom("/no/such/file.dcm")


CONTENT = encoded(dataset(STORED, WindowCenter=800, WindowWidth=2000, RescaleSlope=1, RescaleIntercept=0))


@settings(deadline=None, max_examples=150)
@given(st.integers(0, len(CONTENT) - 2))
def test_a_truncated_file_is_refused(length: int) -> None:
    with pytest.raises(InputError, match=r"^x: "):
        read_dicom("x", content=CONTENT[:length])


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 700), st.integers(0, 255))
def test_a_damaged_header_gives_a_picture_or_a_sentence(place: int, byte: int) -> None:
    damaged = CONTENT[:place] + bytes([byte]) + CONTENT[place + 1 :]
    try:
        pixels = read_dicom("x", content=damaged).pixels
    except InputError as error:
        said = str(error)
    else:
        said = "x: is a picture."
        assert pixels.dtype == np.float32
        assert pixels.min() >= 0
        assert pixels.max() <= 1
    assert re.match(r"x: [^\n]+\.$", said)


def test_real_files(real_data: Path) -> None:
    """Every file of the collection: a picture of the listed size, or a sentence that fits what it is."""
    with open(real_data / "dicom" / "index.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    refused = []
    for row in rows:
        several = re.match(r"\((16|30), ", row["pixel_array_shape"])
        try:
            picture = read_dicom(real_data / "dicom" / row["file"])
        except InputError as error:
            refused += [] if several and "NumberOfFrames" in str(error) else [row]
            continue
        assert picture.pixels.shape[1:] == (int(row["rows"]), int(row["cols"]))
        assert picture.modality == row["modality"]
        assert 0 <= picture.pixels.min() < picture.pixels.max() <= 1
    assert [row["modality"] for row in refused] == ["SEG"]


def test_air_is_dark_in_real_radiographs(real_data: Path) -> None:
    """Both are MONOCHROME1: without the inversion the lungs would be brighter than the mediastinum."""
    for name in ("dwv_gdcm-CR-MONO1-10-chest.dcm", "pydicomdata_RG1_J2KI.dcm"):
        pixels = read_dicom(real_data / "dicom" / "singles" / name).pixels[0]
        height, width = pixels.shape
        band = pixels[int(0.25 * height) : int(0.4 * height)]
        lungs = np.median([band[:, int(x * width)].mean() for x in (0.22, 0.26, 0.74, 0.78)])
        assert lungs < band[:, int(0.48 * width) : int(0.56 * width)].mean() - 0.05


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("stored", "high"), [(12, 15), (12, 13), (12, 11), (10, 12), (16, 15)])
def test_bits_of_a_value_lie_below_its_high_bit(signed: bool, stored: int, high: int) -> None:
    """Values moved up within their 16 bits, with noise in the bits around them, are those that were moved."""
    low = -(1 << (stored - 1)) if signed else 0
    values = (STORED.astype(np.int64) * ((1 << stored) - 1) // 4095 + low).astype(np.int64)
    shift = high + 1 - stored
    noise = np.random.default_rng(0).integers(0, 1 << 16, STORED.shape)
    mask = ((1 << stored) - 1) << shift
    moved = ((values << shift) & mask | noise & ~mask & 0xFFFF).astype(np.uint16)
    data = dataset(moved.view(np.int16) if signed else moved, bits=stored, HighBit=high)
    expected = dataset(values.astype(np.int16 if signed else np.uint16), bits=16)
    np.testing.assert_allclose(read(data), read(expected), atol=1e-6)


def test_bits_that_have_no_place() -> None:
    with pytest.raises(InputError, match="BitsAllocated 16, BitsStored 12, HighBit 9, which leave its values no place"):
        read(dataset(STORED, bits=12, HighBit=9))


@pytest.mark.parametrize("kind", ["Float", "DoubleFloat"])
def test_floating_point_pixels(kind: str) -> None:
    """They have no BitsStored; gaps and padding take no part."""
    values = STORED.astype(np.float32 if kind == "Float" else np.float64) / 7
    values[0], values[1] = np.nan, -999
    data = dataset(STORED, BitsStored=None, HighBit=None, PixelRepresentation=None, PixelData=None)
    data.BitsAllocated = 8 * values.dtype.itemsize
    setattr(data, f"{kind}PixelData", values.tobytes())
    setattr(data, f"{kind}PixelPaddingValue", -999.0)
    pixels = read(data)[0]
    low, high = np.percentile(values[2:], (0.1, 99.9))
    np.testing.assert_allclose(pixels[2:], np.clip((values[2:] - low) / (high - low), 0, 1), atol=1e-5)
    assert not pixels[:2].any()
    data.WindowCenter, data.WindowWidth = 100, 150  # LINEAR's shift by half a step is meant for whole numbers
    np.testing.assert_allclose(read(data)[0][2:], np.clip((values[2:] - 25) / 150, 0, 1), atol=1e-6)


def _unnamed(content: bytes) -> bytes:
    """A file without the element of its transfer syntax."""
    start = content.find(b"\x02\x00\x10\x00UI")
    size = 8 + int.from_bytes(content[start + 6 : start + 8], "little")
    group = int.from_bytes(content[140:144], "little") - size
    return content[:140] + group.to_bytes(4, "little") + content[144:start] + content[start + size :]


def test_a_file_that_does_not_name_its_transfer_syntax() -> None:
    content = encoded(dataset(STORED, WindowCenter=1000, WindowWidth=1500))
    named, unnamed = (read_dicom("x.dcm", content=each).pixels for each in (content, _unnamed(content)))
    np.testing.assert_array_equal(unnamed, named)
    data = dataset(STORED)
    data.compress(RLELossless, generate_instance_uid=False)
    with pytest.raises(InputError, match="is compressed and does not name its transfer syntax"):
        read_dicom("x.dcm", content=_unnamed(encoded(data)))


def _palette(entries: int, wide: bool, nominal: int) -> Dataset:
    data = dataset(shades() % entries, "PALETTE COLOR", bits=8)
    for index, colour in enumerate(("Red", "Green", "Blue")):
        table = (np.arange(entries) * (index + 1) * 37 % 256).astype(np.uint16 if wide else np.uint8)
        table = table * 257 if nominal == 16 else table
        setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [entries, 0, nominal])
        data[f"{colour}PaletteColorLookupTableDescriptor"].VR = "US"
        setattr(data, f"{colour}PaletteColorLookupTableData", table.tobytes())
    return data


@pytest.mark.parametrize(("wide", "nominal"), [(True, 16), (False, 8), (True, 8)])
def test_a_palette_is_the_same_in_both_byte_orders(wide: bool, nominal: int) -> None:
    """Entries of 8 or 16 bits, and of 8 stored in 16, against the table itself."""
    data = _palette(200, wide, nominal)
    expected = np.stack([(shades() % 200).astype(int) * (index + 1) * 37 % 256 for index in range(3)]) / 255
    np.testing.assert_allclose(read(data), expected, atol=1e-6)
    for colour in ("Red", "Green", "Blue"):
        key = f"{colour}PaletteColorLookupTableData"
        setattr(data, key, np.frombuffer(data[key].value, "<u2").astype(">u2").tobytes())
    data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    np.testing.assert_allclose(read_dicom("x.dcm", content=encoded(data)).pixels, expected, atol=1e-6)


def test_colours_and_elements_that_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="its colours are CMYK, which is not supported; export it as RGB"):
        read(dataset(shades(channels=3), "CMYK", bits=8))
    with pytest.raises(InputError, match=r"cannot be shown as a picture \(.*Photometric.*\); export it again"):
        read(dataset(STORED, PhotometricInterpretation=None))


def test_nothing_that_pydicom_decodes_is_called_damaged() -> None:
    """All files that come with pydicom; grey against its own lookup tables, colour against its own pixels."""
    compared, called = 0, []
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm")):
        data = dcmread(path, force=True)
        try:
            pixels = pixel_array(data, index=0)
        except (AttributeError, RuntimeError, ValueError):  # what pydicom says of files that it cannot decode
            continue
        try:
            ours = read_dicom(path).pixels
        except InputError as error:
            called.append(str(error))
            continue
        if data.PhotometricInterpretation == "PALETTE COLOR":
            pixels = apply_color_lut(pixels, data)[..., :3]
        theirs = apply_voi_lut(apply_modality_lut(pixels, data), data) if len(ours) == 1 else np.moveaxis(pixels, -1, 0)
        assert np.corrcoef(theirs.astype(float).ravel(), ours.ravel())[0, 1] > 0.99, path
        compared += 1
    assert compared > 25
    assert not [text for text in called if "damaged" in text]
