"""The shell commands of a document."""

import re
import shlex
from collections.abc import Iterator
from itertools import product

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_END = re.compile(r"\s(?:\|\||&&|[;&])(?:\s|$)|\s#\s|$", re.MULTILINE)


def shell_blocks(text: str) -> Iterator[str]:
    """The fenced blocks without a language, or with that of the shell."""
    yield from (block for language, block in _FENCED.findall(text) if language in ("", "bash", "sh"))


def calls(text: str, program: str) -> Iterator[list[str]]:
    """The words behind each `program` in the shell blocks, variables and loops over given words put in.

    Variables hold from where they are set to the end of the text.
    """
    values: dict[str, list[str]] = {}
    for block in shell_blocks(text):
        joined = re.sub(r"\\\n\s*", " ", block)
        for line in joined.splitlines():
            values.update((name, [value]) for name, value in re.findall(r"\b([A-Za-z_]\w*)=([\w./-]+)", line))
            values.update((name, words.split()) for name, words in re.findall(r"for (\w+) in ([^;]+);", line))
            for found in re.finditer(rf"{re.escape(program)} (.*)", line):
                command = found[1][: _END.search(found[1]).start()]  # type: ignore[union-attr]
                used = [name for name in values if re.search(rf"\$\{{?{name}\b", command)]
                for chosen in product(*(values[name] for name in used)):
                    filled = command
                    for name, value in zip(used, chosen, strict=True):
                        filled = re.sub(rf"\$\{{?{name}\b\}}?", value, filled)
                    yield shlex.split(filled)
