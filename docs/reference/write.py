"""Write the reference of all settings from the comments of the configs: `python docs/reference/write.py`.

A page a bundle, a table a stage. `tests/test_docs.py` compares the pages with what this would write.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

HERE = Path(__file__).resolve().parent
BUNDLES = sorted(path.parents[1] for path in HERE.parents[1].glob("bundles/*/configs/metadata.json"))
_STAGES = (
    "pretrain",
    "train",
    "evaluate",
    "inference",
    "linear_probe",
    "detect",
    "slides",
)  # others behind the one they extend
_PLUMBING = "# --- plumbing"
_LONGEST = 60  # characters of a value


class Setting(NamedTuple):
    """A top-level key of a config: its value as it is written, and its comment."""

    key: str
    value: str
    comment: str
    plumbing: bool


def settings(path: Path) -> Iterator[Setting]:
    """The top-level keys of a config in their order."""
    text = path.read_text(encoding="utf-8")
    content, plumbing = yaml.safe_load(text), False
    for line in text.splitlines():
        plumbing |= line.startswith(_PLUMBING)
        found = re.match(r"([A-Za-z_]\w*):(.*)", line)
        if found:
            value, comment = parted(found[2])
            yield Setting(found[1], value or shown(content[found[1]]), comment, plumbing)


def parted(text: str) -> tuple[str, str]:
    """What stands behind a key as its value and its comment; a `#` in quotes begins none."""
    for place in re.finditer(r"(?:^|\s)#\s", text):
        value = text[: place.start()].strip()
        try:
            yaml.safe_load(value)
        except yaml.YAMLError:
            continue
        return value, text[place.end() :].strip()
    return text.strip(), ""


def shown(value: Any) -> str:
    """A value that stands on lines of its own."""
    if isinstance(value, dict) and "_target_" in value:
        return str(value["_target_"])
    return str(value) if isinstance(value, list) and all(isinstance(entry, str) for entry in value) else ""


def page(bundle: Path) -> str:
    """The page of a bundle."""
    lines = [
        f"# Settings of `{bundle.name}`", "",
        f"Made by `docs/reference/write.py` from the comments in `bundles/{bundle.name}/configs/`. Each setting can be",
        "given on the command line (`--max_epochs 100`) or in an overlay; what is not listed is refused.",
    ]  # fmt: skip
    stages = {path.stem: path for path in (bundle / "configs").glob("*.yaml") if "\nstage:" in path.read_text("utf-8")}
    for name in sorted(stages, key=lambda name: (_order(name), name)):
        path = stages[name]
        title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        lines += ["", f"## {name}", title, "", "| setting | default | what it is |", "|---|---|---|"]
        found = list(settings(path))
        lines += [f"| `{s.key}` | {_code(s.value)} | {_cell(s.comment)} |" for s in found if not s.plumbing]
        made = [f"`{s.key}`" + (f" ({_cell(s.comment)})" if s.comment else "") for s in found if s.plumbing]
        lines += ["", f"Made of these: {', '.join(made)}."]
    return "\n".join(lines) + "\n"


def _order(stage: str) -> int:
    return next(place for place, name in enumerate(_STAGES) if stage.startswith(name))


def _code(value: str) -> str:
    if len(value) > _LONGEST:
        value = value[: _LONGEST - 4] + " ..."
    return f"`{_cell(value)}`" if value else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def target(bundle: Path) -> Path:
    """Where the page of a bundle lies."""
    return HERE / f"{bundle.name}.md"


if __name__ == "__main__":
    for each in BUNDLES:
        target(each).write_text(page(each), encoding="utf-8")
        print(target(each))
