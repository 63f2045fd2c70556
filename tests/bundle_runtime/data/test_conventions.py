import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from bundle_runtime.data.conventions import CONVENTIONS, Convention, convention, predicted_tissues
from bundle_runtime.learnt import masks_from_engine
from custom_components.errors import InputError
from custom_components.tumour_labels import REGIONS, TISSUES, region_masks
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.transforms import ConvertToMultiChannelBasedOnBratsClasses

NAMES = ["background", "TC", "WT", "ET"]
CODES = {name: code for code, name in enumerate(TISSUES)}
# One row of voxels, from healthy brain through the tumour: what an expert sees, and what each convention stores.
SEEN = ["background", "oedema", "oedema", "non-enhancing core", "enhancing tumour", "background"]
STORED = {"msd": [0, 1, 1, 2, 3, 0], "brats2018": [0, 2, 2, 1, 4, 0], "brats2023": [0, 2, 2, 1, 3, 0]}
INSIDE = {
    "TC": [False, False, False, True, True, False],
    "WT": [False, True, True, True, True, False],
    "ET": [False, False, False, False, True, False],
    "NCR/NET": [False, False, False, True, False, False],
}
told_codes = arrays(np.uint8, (1, 3, 4, 2), elements=st.integers(0, 3))
rules = st.sampled_from(sorted(CONVENTIONS))


def decoded(rule: Convention, values: Sequence[int]) -> torch.Tensor:
    return torch.from_numpy(rule.decode(np.array(values).reshape(1, -1, 1, 1)))


@pytest.mark.parametrize("name", sorted(CONVENTIONS))
def test_each_convention_gives_the_tissues_that_were_drawn(name: str) -> None:
    codes = convention(name).decode(np.array(STORED[name]))
    assert codes.dtype == np.uint8
    assert [TISSUES[code] for code in codes] == SEEN
    back = convention(name).encode(torch.from_numpy(codes))
    assert back.tolist() == STORED[name]


@pytest.mark.parametrize("name", sorted(CONVENTIONS))
@pytest.mark.parametrize("region", sorted(REGIONS))
def test_each_region_is_the_same_in_every_convention(name: str, region: str) -> None:
    masks = region_masks(decoded(convention(name), STORED[name]), ["background", region])
    assert masks.flatten().tolist() == INSIDE[region]


def test_msds_label_2_is_never_the_enhancing_tumour() -> None:
    """Upstream code takes MSD's 2 for ET (MONAI tutorials issue 1355; SelfMedMAE): it is the non-enhancing core."""
    codes = decoded(convention("msd"), [2])
    assert region_masks(codes, ["background", "ET"]).sum() == 0
    assert region_masks(codes, ["background", "NCR/NET"]).all()
    upstream = ConvertToMultiChannelBasedOnBratsClasses()(torch.tensor([3, 1]).reshape(1, 2, 1, 1))
    assert not upstream[2].any()  # MONAI's transform, made for BraTS, finds no ET in an MSD label


@given(told_codes, st.sampled_from([("brats2018", 4), ("brats2023", 3)]))
def test_regions_agree_with_monai(codes: np.ndarray, case: tuple[str, int]) -> None:
    """MONAI's transform is right for BraTS's own values; its order is TC, WT, ET."""
    name, enhancing = case
    stored = convention(name).encode(torch.from_numpy(codes))
    oracle = ConvertToMultiChannelBasedOnBratsClasses(et_label=enhancing)(stored)
    ours = region_masks(torch.from_numpy(convention(name).decode(stored.numpy())), NAMES)
    assert torch.equal(ours, torch.as_tensor(oracle))


@given(told_codes, rules)
def test_decoding_undoes_encoding(codes: np.ndarray, name: str) -> None:
    rule = convention(name)
    assert np.array_equal(rule.decode(rule.encode(torch.from_numpy(codes)).numpy()), codes)


@pytest.mark.parametrize(
    ("name", "value"), [("msd", 4), ("brats2023", 4), ("brats2018", 3), ("msd", -1), ("msd", 300), ("brats2018", 1.5)]
)
def test_a_value_that_the_convention_does_not_know_is_refused(name: str, value: float) -> None:
    rule = convention(name)
    with pytest.raises(InputError) as caught:
        rule.decode(np.array([0, 1, value]), "seg.nii.gz")
    assert str(caught.value).startswith(f"seg.nii.gz holds the value(s) {value:g}, which the convention {name} (0 back")
    if value == int(value):
        assert rule.unknown_values([0, 1, int(value)]) == [int(value)]


def test_float_label_maps_of_whole_numbers_are_read() -> None:
    assert convention("msd").decode(np.array([0.0, 3.0])).tolist() == [0, CODES["enhancing tumour"]]


def test_a_custom_table() -> None:
    """BRATS 2012: 1 oedema, 2 tumour, where the tumour is the undivided core."""
    rule = convention({"1": "oedema", "2": "tumour core"})
    assert (rule.name, rule.unlabelled) == ("custom", ("ET", "NCR/NET"))
    assert rule.describe() == "custom (0 background, 1 oedema, 2 tumour core)"
    codes = decoded(rule, [0, 1, 2])
    assert region_masks(codes, NAMES).flatten(1).tolist() == [[False, False, True], [False, True, True], [False] * 3]
    # The tissues of a finer network go back into the undivided value.
    finer = torch.tensor([CODES["enhancing tumour"], CODES["non-enhancing core"], CODES["oedema"]])
    assert rule.encode(finer).tolist() == [2, 2, 1]
    assert convention({"3": "whole tumour"}).unlabelled == ("TC", "ET", "NCR/NET")
    assert convention({"3": "whole tumour"}).encode(finer).tolist() == [3, 3, 3]


def test_a_tissue_without_a_value_is_not_lost_silently() -> None:
    advice = (
        r"custom \(0 background, 1 enhancing tumour\) has no value for oedema, .* set label_convention to msd or br"
    )
    with pytest.raises(InputError, match=advice):
        convention({"1": "enhancing tumour"}).encode(torch.tensor([CODES["oedema"]]))
    with pytest.raises(InputError, match=r"msd .* has no value for tumour core, .*; set label_convention to a table"):
        convention("msd").encode(torch.tensor([CODES["tumour core"]]))


@pytest.mark.parametrize("spec", [*CONVENTIONS, {"1": "oedema", "2": "tumour core"}, {"3": "whole tumour"}])
def test_conventions_in_which_every_prediction_can_be_written(spec: str | dict[str, str]) -> None:
    convention(spec).require(predicted_tissues())


def test_a_convention_is_refused_for_what_may_be_predicted() -> None:
    assert predicted_tissues() == ("background", "oedema", "non-enhancing core", "enhancing tumour")
    assert predicted_tissues(["background", "WT", "TC"]) == ("background", "oedema", "tumour core")
    with pytest.raises(InputError, match="no value for oedema and none for non-enhancing core, so a prediction"):
        convention({"1": "enhancing tumour"}).require(predicted_tissues())
    with pytest.raises(InputError, match="has no value for oedema, "):
        convention({"1": "tumour core"}).require(predicted_tissues())
    convention({"1": "enhancing tumour"}).require(predicted_tissues(["background", "ET"]))


@pytest.mark.parametrize(
    "spec",
    [
        "brats",
        "",
        "{oops",
        "[1]",
        {},
        {"1": "necrosis"},
        {"one": "oedema"},
        {"-1": "oedema"},
        {"0": "oedema"},
        {"0": "oedema", "1": "tumour core"},
        {"1": "background", "2": "oedema"},
        {1.5: "oedema"},
        {True: "oedema"},
        {"1_0": "oedema"},
        "brats2024",
        7,
        None,
    ],
)
def test_conventions_that_are_none(spec: object) -> None:
    with pytest.raises(InputError, match=r"label_convention is .*expected msd, brats2018, brats2023, or a table"):
        convention(spec)  # type: ignore[arg-type]


def test_other_names_of_a_convention() -> None:
    assert convention("MSD") is convention("msd")
    for name in ("brats2019", "BraTS2020", "BraTS2021"):
        assert convention(name) is convention("brats2018")
    with pytest.raises(InputError, match=r"operated heads: 4 is the resection cavity.*name brats2023"):
        convention("BraTS2024")
    assert convention({"0": "background", "1": "oedema"}) == convention({1: "oedema"})  # type: ignore[arg-type]


@given(
    st.dictionaries(st.integers(1, 255), st.sampled_from(TISSUES[1:]), min_size=1, max_size=5).filter(
        lambda table: len(set(table.values())) == len(table)
    )
)
def test_a_table_survives_being_written_as_text(table: dict[int, str]) -> None:
    rule = convention(table)
    again = convention(rule.to_text())
    assert again == rule
    assert convention(json.loads(rule.to_text())) == rule


@pytest.mark.parametrize("name", sorted(CONVENTIONS))
def test_a_named_convention_is_written_by_its_name(name: str) -> None:
    assert convention(name).to_text() == name
    assert convention(name).unlabelled == ()


def test_masks_for_monais_metrics() -> None:
    label = decoded(convention("msd"), STORED["msd"])
    pred = torch.zeros_like(label)
    masks = masks_from_engine(NAMES)([{"pred": pred, "label": label}] * 2)
    assert [len(part) for part in masks] == [2, 2]
    assert not masks[0][0].any()
    assert masks[1][1].flatten(1).tolist() == [INSIDE[name] for name in NAMES[1:]]


def test_several_values_of_one_tissue_are_read_and_the_lowest_is_written() -> None:
    """As in BraTS 2012 to 2016, where 1 and 3 are both the non-enhancing core."""
    names = {1: "non-enhancing core", 2: "oedema", 3: "non-enhancing core", 4: "enhancing tumour"}
    rule = convention({str(value): tissue for value, tissue in names.items()})
    codes = rule.decode(np.array([0, 1, 2, 3, 4]))
    assert codes.tolist() == [0, *(TISSUES.index(tissue) for tissue in names.values())]
    assert rule.encode(torch.from_numpy(codes)).tolist() == [0, 1, 2, 1, 4]
    assert rule.unlabelled == ()
    assert convention(rule.to_text()).tissues == rule.tissues
