"""Reads an HTML page as a test wants it."""

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from bundle_runtime.pages.score_tables import shown

_FETCHED = ("src", "href", "srcset", "action", "data")


class Reader(HTMLParser):
    """The words of a page, its pictures and whatever would be fetched; anything but text and pictures is refused."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.words: list[str] = []
        self.pictures: list[str] = []
        self.addresses: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.addresses += [value for name, value in given.items() if name in _FETCHED]
        self.pictures += [given["alt"]] if tag == "img" else []
        assert tag not in ("script", "link", "iframe", "object", "embed")

    def handle_data(self, data: str) -> None:
        self.words += data.replace("[", " ").replace("]", " ").replace(",", " ").split()

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def self_contained(self) -> bool:
        return all(address.startswith("data:image/") for address in self.addresses)


def reported(folder: Path, *said: str) -> Reader:
    """The report of a stage, once it is known to hold all scores, to say so much and to fetch nothing."""
    page = Reader(folder / "report.html")
    assert page.self_contained
    for file in (folder / "scores.json", folder / "froc.json"):
        content = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        scores = {key: value for key, value in content.items() if key not in ("header", "notes", "warnings")}
        assert not [number for number in numbers(scores) if shown(number) not in page.words]
    assert not [text for text in said if text not in page.text]
    return page


def numbers(value: Any) -> Iterator[float]:
    """All numbers in a summary."""
    if isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from numbers(entry)
    elif isinstance(value, int | float):
        yield value
