"""Write what the tutorial prints, with times: `python docs/transcript.py <transcript.txt>` makes `docs/transcript.md`.

The transcript is what `pytest tests/test_docs.py -m slow -k tutorial` leaves in its folder: bash's own trace, in which
each command begins with the seconds since the first one.
"""

import re
import shlex
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

_BEGIN = re.compile(r"\++ \[(\d+) s\] (.*)")
_NOISE = re.compile(r"\d%\||- (INFO|WARNING) - |Warning: |^\s*warnings\.warn|^(parsing config_file|copy )|^\s*$")
_LINES, _LETTERS = 16, 150  # of what a command printed, and of a line
_HEAD = """# What the tutorial prints, and how long it takes

The commands of [the tutorial](tutorial.md) on a drawn export of eight patients, one after the other in {minutes:.0f}
minutes, {machine}.
Progress bars and log lines are left out, and of long outputs all but the last lines. Written by
`python docs/transcript.py <transcript.txt>` from what `pytest tests/test_docs.py -m slow -k tutorial` leaves behind.

"""


class Command(NamedTuple):
    """A command as people type it, the seconds it took, and the lines that it printed."""

    text: str
    seconds: int
    lines: list[str]


def commands(transcript: str) -> Iterator[Command]:
    """The Python commands of a trace in their order."""
    entries: list[tuple[int, str, list[str]]] = []
    for line in transcript.splitlines():
        found = _BEGIN.fullmatch(line)
        if found:
            entries.append((int(found[1]), found[2], []))
        elif entries and not _NOISE.search(line):
            entries[-1][2].append(line.rstrip() if len(line) <= _LETTERS else f"{line[:_LETTERS]} ...")
    for (began, text, lines), (ended, _, _) in pairwise(entries):
        if text.startswith("python "):
            yield Command(" ".join(map(_typed, shlex.split(text))), ended - began, lines)


def page(transcript: str, folder: str, machine: str) -> str:
    """The document.

    Args:
        transcript: text of the trace.
        folder: where it ran, which is left out of paths.
        machine: on what, in words.
    """
    found = list(commands(transcript.replace(f"{folder}/", "").replace(folder, "here")))
    parts = [_HEAD.format(minutes=sum(command.seconds for command in found) / 60, machine=machine)]
    for command in found:
        lines = command.lines if len(command.lines) <= _LINES else ["...", *command.lines[1 - _LINES :]]
        parts.append("\n".join(["```text", f"$ {command.text}", *lines, f"[{command.seconds} s]", "```", "", ""]))
    return "".join(parts).rstrip("\n") + "\n"


def _typed(word: str) -> str:
    return f'"{word}"' if "'" in word else shlex.quote(word)


if __name__ == "__main__":
    path = Path(sys.argv[1]).resolve()
    content = page(path.read_text(encoding="utf-8"), str(path.parent), " ".join(sys.argv[2:]))
    Path(__file__).with_suffix(".md").write_text(content, encoding="utf-8")
