from bundle_runtime.data.verify_pictures import Seen
from mae_tools.check.picture_proposals import of_pictures, statistics


def test_pictures() -> None:
    colours, grey = ((0.5, 0.26), (0.25, 0.07), (0.75, 0.6)), ((0.3, 0.1), (0.5, 0.33))
    seen = [
        Seen(kind="RGB", height=120, width=180, tones=colours),
        Seen(kind="8-bit grey", height=100, width=100, tones=grey),
        Seen(problem="x"),
    ]
    content = {"task": "multi_class", "mpp": 0.25}
    config = {"img_size": 224, "cache_size": 256, "patch_size": 16, "in_channels": 1, "batch_size": 64, "pixel_mean": 0}
    facts, found = of_pictures(seen, content, config)
    assert {p.key: p.value for p in found} == {
        "task": "multi_class", "img_size": 96, "cache_size": 110, "in_channels": 3, "mpp": 0.25, "batch_size": 1,
        "pixel_mean": [0.4, 0.275, 0.525], "pixel_std": [0.141, 0.097, 0.273],
    }  # fmt: skip
    assert (facts["pictures"], facts["grey"]) == (2, 0.5)
    head, side, brightness, contrast = statistics(facts)
    assert head == ("2 pictures", "lowest", "median", "highest")
    assert side[1:] == ("100", "110", "120")
    assert brightness[1:] == ("0.3", "0.4", "0.5")
    assert contrast[0] == "contrast"
    assert statistics({}) == []
