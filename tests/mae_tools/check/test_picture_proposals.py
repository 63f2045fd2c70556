from bundle_runtime.data.verify_pictures import Seen
from mae_tools.check.picture_proposals import of_pictures


def test_pictures() -> None:
    seen = [Seen(kind="RGB", height=120, width=180), Seen(kind="8-bit grey", height=100, width=100), Seen(problem="x")]
    content = {"task": "multi_class", "mpp": 0.25}
    config = {"img_size": 224, "cache_size": 256, "patch_size": 16, "in_channels": 1, "batch_size": 64}
    facts, found = of_pictures(seen, content, config)
    assert {p.key: p.value for p in found} == {
        "task": "multi_class", "img_size": 96, "cache_size": 110, "in_channels": 3, "mpp": 0.25, "batch_size": 1,
    }  # fmt: skip
    assert (facts["pictures"], facts["grey"]) == (2, 0.5)
