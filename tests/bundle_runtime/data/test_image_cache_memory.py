"""What reading from `image_cache.ImageCache` keeps in memory."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MEASURED = """
import sys
from pathlib import Path
import numpy as np
from bundle_runtime.data.image_cache import ImageCache
from bundle_runtime.data.image_prepare import Recipe
def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1])
files = [f"{sys.argv[1]}/{k:06d}.png" for k in range(int(sys.argv[3]))]
items = [{"image": file, "case": file} for file in files]
cache = ImageCache(items, sys.argv[2], Recipe(16, equalise="none"), progress=False)
rng = np.random.default_rng(0)
cache.rows(rng.integers(0, len(cache), 1000))
before = anonymous()
for _ in range(200):
    cache.rows(rng.integers(0, len(cache), 1000))
print(len(cache), anonymous() - before)
"""


@pytest.mark.slow
def test_reading_takes_no_more_memory_from_a_hundred_times_more_pictures(tmp_path: Path) -> None:
    """1,000 and 100,000 pictures; the memory that belongs to the process, without mapped pages of files."""
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    for k in range(100_000):
        pixels = np.frombuffer(np.int64(k + 1).tobytes(), np.uint8).repeat(32).reshape(16, 16)
        (tiny / f"{k:06d}.png").write_bytes(_tiny_png(pixels))
    grown = {}
    for count in (1_000, 100_000):
        command = [sys.executable, "-c", MEASURED, str(tiny), str(tmp_path / f"c{count}"), str(count)]
        result = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3])
        length, grown[count] = map(int, result.stdout.split())
        assert length == count
    assert max(grown.values()) < 3000  # kB; the maps of 98 blocks are the only thing that is kept


def _tiny_png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
