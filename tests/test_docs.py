"""What the documents name exists: files, modules, links, commands."""

import re
from pathlib import Path

import pytest

from mae_tools.__main__ import COMMANDS
from mae_tools.closure import ROOT
from mae_tools.sources import SOURCES

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bundles/*/docs/README.md")])
_PATH = re.compile(r"`((?:custom_components|bundle_runtime|mae_tools|tests|benchmarks|docs|bundles)/[\w./<>*-]+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_exist(page: Path) -> None:
    named = _PATH.findall(page.read_text(encoding="utf-8"))
    lost = [path for path in named if "<" not in path and not list(ROOT.glob(path.rstrip("/")))]
    assert not lost


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert not [t for t in targets if not t.startswith(("http:", "https:")) and not (page.parent / t).exists()]


@pytest.mark.parametrize("card", sorted(ROOT.glob("bundles/*/docs/README.md")), ids=lambda card: card.parts[-3])
def test_links_of_a_card_lead_somewhere_in_its_package(card: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", card.read_text(encoding="utf-8"))
    bundle = card.parents[1]
    local = [target for target in targets if not target.startswith(("http:", "https:"))]
    assert not [target for target in local if bundle not in (card.parent / target).resolve().parents]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"-m mae_tools ([a-z]\w*)", text))
    assert named <= set(COMMANDS)
    assert set(re.findall(r"-m mae_tools datalist ([a-z]\w*)", text)) <= set(SOURCES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tests_exist(page: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text(encoding="utf-8"))
    assert [test for file, test in named if f"def {test}(" not in (ROOT / file).read_text(encoding="utf-8")] == []
