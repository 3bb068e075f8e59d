"""README.md says what there is, in both languages: its links, settings, models and version."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.picture_sources import project_version

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = (ROOT / name for name in ("README.md", "README.zh-CN.md"))
BOTH = pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=lambda page: page.name)


def said(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def links(page: Path) -> set[str]:
    return {link for link in re.findall(r"\]\(([^)]+)\)", said(page)) if not link.startswith("http")}


def anchor(heading: str) -> str:
    """Return what GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@BOTH
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, part = link.partition("#")
        assert (ROOT / path).is_file(), link
        headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE) if part else []
        assert not part or part in map(anchor, headings), link


@BOTH
def test_its_settings_models_and_version_are_there(page: Path) -> None:
    settings = re.findall(r"EASEL_[A-Z_]+", said(page))
    example = said(ROOT / ".env.example")
    assert settings
    assert [name for name in settings if name not in example] == []
    table = said(page).split("| 6 ")[1].split("\n\n")[0]
    models = {name for name in re.findall(r"`([\w.-]+)`", table) if name != "int8"}
    assert models
    assert [name for name in models if f"| `{name}` |" not in said(ROOT / "docs/models.md")] == []
    assert set(re.findall(r"easel-([\d.]+)-py3", said(page))) == {project_version()}
    assert "<this" not in said(page)


def test_both_languages_say_the_same() -> None:
    def commands(page: Path) -> list[str]:
        lines = re.findall(r"^    (.+)$", said(page), re.MULTILINE)
        return [re.sub(r'"[^"]+"', "PROMPT", line) for line in lines]

    def documents(page: Path) -> set[str]:
        return {re.sub(r"\.(en|zh-CN)\.", ".", link) for link in links(page) if not link.startswith("README")}

    assert commands(ENGLISH) == commands(CHINESE)
    assert len(commands(ENGLISH)) == 4
    assert documents(CHINESE) == documents(ENGLISH)
    assert [len(re.findall(r"^## ", said(page), re.MULTILINE)) for page in (ENGLISH, CHINESE)] == [8, 8]
