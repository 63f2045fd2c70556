"""Measure the house: lines by floor, what a package carries, what a CT run imports; draw the import graph of the rooms.

`python benchmarks/house.py` prints a table; `--write` also renews the graph in `docs/how_it_works.md`, which
`tests/benchmarks/test_house.py` compares with the imports.
"""

import argparse
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mae_tools.closure import FLOORS, imports_of, named_in  # noqa: E402
from mae_tools.package import python_files  # noqa: E402

DOCUMENT = ROOT / "docs" / "how_it_works.md"
MARKS = "<!-- rooms: made by benchmarks/house.py --write -->", "<!-- end of rooms -->"
MOST = {"custom_components": 5500, "bundle_runtime": 12500, "mae_tools": 8000, "sum": 26000, "bundle YAML": 7300}
BUNDLES = sorted(path.parents[1] for path in ROOT.glob("bundles/*/configs/metadata.json"))
CT = ROOT / "bundles" / "btcv_unetr_mae"


def lines(paths: Iterator[Path] | list[Path]) -> int:
    """Lines of files, as `wc -l` counts them."""
    return sum(path.read_text(encoding="utf-8").count("\n") for path in paths)


def table() -> dict[str, int]:
    """What is measured -> its number."""
    found = {floor: lines((ROOT / floor).rglob("*.py")) for floor in FLOORS}
    found["sum"] = sum(found.values())
    found["demo data"] = lines((ROOT / "mae_tools" / "demo_data").rglob("*.py"))
    found["bundle YAML"] = lines(ROOT.glob("bundles/*/configs/*.yaml"))
    for bundle in BUNDLES:
        found[f"Python in the zip of {bundle.name}"] = lines(python_files(bundle))
    found["modules that the CT pre-training loads"] = loaded_by(CT / "configs" / "pretrain.yaml")
    return found


def loaded_by(config: Path) -> int:
    """How many modules of the floors are loaded once all that a config names is imported."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        f"print(sum(name.split('.')[0] in {FLOORS!r} for name in sys.modules))"
    )
    names = sorted(named_in(config.read_text(encoding="utf-8")))
    command = [sys.executable, "-W", "ignore", "-c", code, *names]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def room(module: str) -> str:
    """The folder of a module below its floor; modules right on a floor stand for themselves."""
    floor, *rest = module.split(".")
    return f"{floor}/{rest[0]}" if rest else floor


def rooms() -> dict[str, set[str]]:
    """Room -> the rooms that it imports."""
    found: dict[str, set[str]] = {}
    for floor in FLOORS:
        for path in sorted((ROOT / floor).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            others = {room(name) for name in imports_of(module)}
            found.setdefault(room(module), set()).update(others - {room(module)} - set(FLOORS))
    return {name: found[name] for name in sorted(found) if name not in FLOORS}


def mermaid() -> str:
    """The floors, and within each the imports between its rooms; what every room imports (errors, ...) is left out."""
    graph = rooms()
    users = {name: sum(name in others for others in graph.values()) for name in graph}
    drawn = {name for name in graph if (ROOT / name).is_dir() or (name.startswith(FLOORS[0]) and users[name] <= 12)}
    text = ["```mermaid", "flowchart TB"]
    for floor in reversed(FLOORS):
        text.append(f"  subgraph {floor}")
        inside = [name for name in sorted(drawn) if name.startswith(f"{floor}/")]
        text += [f"    {_id(name)}[{name.split('/')[1]}]" for name in inside]
        text += [f"    {_id(name)} --> {_id(other)}" for name in inside for other in sorted(graph[name] & set(inside))]
        text.append("  end")
    text += [f"  {upper} --> {lower}" for lower, upper in itertools.pairwise(FLOORS)]
    return "\n".join([*text, "```"])


def _id(name: str) -> str:
    return re.sub(r"\W", "_", name)


def main() -> None:
    """Print the table; with `--write`, renew the graph."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--write", action="store_true", help="renew the graph in docs/how_it_works.md")
    given = options.parse_args()
    for name, number in table().items():
        most = f" (at most {MOST[name]:,})" if name in MOST else ""
        print(f"{name:50} {number:7,}{most}")
    if given.write:
        text = DOCUMENT.read_text(encoding="utf-8")
        before, rest = text.split(MARKS[0])
        after = rest.split(MARKS[1])[1]
        DOCUMENT.write_text(f"{before}{MARKS[0]}\n{mermaid()}\n{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
