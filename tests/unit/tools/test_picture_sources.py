"""No picture of README.md and the docs is older than what it shows."""

from __future__ import annotations

import io
import itertools
import re
from pathlib import Path

import pytest
from PIL import Image

from bot.core.cards import CardPreview
from bot.core.vocabulary import unknown_words
from engine.families.z_image.spec import demo
from tools import picture_sources
from tools.cards import ENGLISH, PROMPTS, picture
from tools.docs_images import EVERY, messages_of
from tools.picture_sources import IMAGES, ROOT, Sources, listed, markup, outdated, seen_texts, without_drawings
from tools.screenshots import DRAWINGS

PAGES = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))


def png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (192, 192), "red").save(out, "PNG")
    return out.getvalue()


async def test_every_picture_shows_what_there_is_today(tmp_path: Path) -> None:
    pictures = [picture(png(), tmp_path, number, max(0, number - len(ENGLISH))) for number in range(len(ENGLISH) + 4)]
    entries = listed()
    assert sorted(entries) == sorted(EVERY)
    stale = {
        name: changed
        for name, entry in entries.items()
        if (changed := outdated(name, entry, await messages_of(name, tmp_path, pictures, CardPreview(png(), 1), png())))
    }
    assert stale == {}, "run make screenshots, or python tools/docs_images.py with these names"


def test_every_picture_is_listed_and_shown() -> None:
    shown = {
        name
        for page in PAGES
        for name in re.findall(r"\bimages/([\w.-]+\.(?:png|svg))", page.read_text(encoding="utf-8"))
    }
    there = {path.name for path in IMAGES.iterdir()} - {"sources.json"}
    assert shown == there
    assert {name for name in there if name.endswith(".png")} == set(EVERY)


def test_a_change_of_any_source_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_sources, "ROOT", tmp_path)
    monkeypatch.setattr(picture_sources, "IMAGES", tmp_path)
    page, project = tmp_path / "page.js", tmp_path / "pyproject.toml"
    page.write_text("const a = 1; // one\nhtml`<b class=${a}>`")
    project.write_text('[project]\nversion = "1"')
    (tmp_path / "page.png").write_bytes(b"a picture")
    entry = Sources(["page.js"], ("en", ["web.draw"]), "<b>Draw</b>", version=True).digests(b"a picture")

    def changes(messages: str = "<b>Draw</b>") -> list[str]:
        return outdated("page.png", entry, messages)

    assert changes() == []
    page.write_text("const b = 2; // two\nhtml`<b\n  class=${a}>`")
    assert changes() == []
    page.write_text("const b = 2;\nhtml`<i class=${a}>`")
    assert changes() == ["page.js"]
    page.unlink()
    assert changes() == ["page.js"]
    project.write_text('[project]\nversion = "2"')
    assert changes("<b>Paint</b>") == ["messages", "version", "page.js"]
    (tmp_path / "page.png").write_bytes(b"another picture")
    entry["texts"] = {"web.draw": "Paint", "web.gone": "Gone"}
    assert changes() == ["picture", "version", "page.js", "web.draw", "web.gone"]


def test_no_picture_asks_for_what_the_demo_does_not_know() -> None:
    prompts = [*itertools.chain(*PROMPTS.values()), *(form["prompt"] for forms in DRAWINGS.values() for form in forms)]
    assert {prompt: words for prompt in prompts if (words := unknown_words(prompt, demo().vocabulary))} == {}


def test_markup_of_scripts() -> None:
    inner = 'html`<i title="}">${b ? \'`\' : "}"}</i>`'
    outer = f"html`<b>${{a.map((b) => {{ return {inner}; }})}}\\`</b>`"
    assert markup(f"const a = `x`;\n{outer}; const c = `y`; html`<hr>`") == [outer, "html`<hr>`"]


def test_texts_that_are_seen() -> None:
    assert "web.draw" in seen_texts("en", "web.", "Type it\nDraw")
    assert "web.draw" not in seen_texts("en", "web.", "Type it")
    assert "web.mask.size" not in seen_texts("zh_CN", "web.", "")


def test_drawings_are_no_source() -> None:
    assert without_drawings('<img src="data:image/png;base64,AAAA">') == '<img src="">'
