"""Cards in Discord's limits, with every text as it was typed."""

from __future__ import annotations

import re
from typing import Any

import pytest
from discord.ui import LayoutView
from hypothesis import given
from hypothesis import strategies as st

from adapters.discord.pictures import Upload
from adapters.discord.render import COLOURS, escape, plain_of, view_of
from bot.core.cards import Button, ButtonPress, Card, Fact, Instant, Tone
from tests.fakes.discord_spec import (
    ACTION_ROW,
    BUTTON,
    IS_COMPONENTS_V2,
    MEDIA_GALLERY,
    TEXT_DISPLAY,
    check,
    check_message,
    nested,
)

words = st.text(max_size=3000)
TRICKS = st.lists(
    st.sampled_from(
        [
            "**",
            "__",
            "`",
            "```",
            "[a](http://b)",
            "<@1>",
            "<t:0>",
            "@everyone",
            "> ",
            "# ",
            "-# ",
            "||",
            "\\",
            ":x:",
            "a",
            "\n",
            "😀",
        ]
    )
).map("".join)


def shown(text: str) -> str:
    """What Discord makes of escaped text: a backslash before punctuation disappears."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text).replace("\u200b", "")


@given(words | TRICKS)
def test_text_is_shown_as_it_was_typed(text: str) -> None:
    assert shown(escape(text, 10**6)) == text.replace("\u200b", "")


@given(words | TRICKS)
def test_no_markup_is_left(text: str) -> None:
    bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", escape(text, 10**6))
    assert not re.search(r"[!-/:-@\[-`{-~]", bare.replace("\u200b", ""))


@given(words | TRICKS, st.integers(min_value=2, max_value=60))
def test_a_cut_keeps_escapes_whole(text: str, limit: int) -> None:
    cut = escape(text, limit)
    assert len(cut) <= limit
    if cut.endswith("…"):
        backslashes = len(cut[:-1]) - len(cut[:-1].rstrip("\\"))
        assert backslashes % 2 == 0


def test_mentions_are_broken_too() -> None:
    assert "@everyone" not in escape("@everyone", 100)
    assert "<@" not in escape("<@12345678901234567>", 100)


INSTANTS = st.lists(st.builds(Instant, words, st.integers(0, 2**33)), max_size=3).map(tuple)
cards = st.builds(
    Card,
    tone=st.sampled_from(Tone),
    status=words,
    prompt=words | TRICKS,
    asker=words,
    job_id=st.none() | st.just(7),
    progress=st.none() | st.floats(0, 1),
    notes=st.lists(words, max_size=12).map(tuple),
    facts=st.lists(st.builds(Fact, words, words), max_size=30).map(tuple),
    summary=st.lists(words, max_size=9).map(tuple),
    instants=INSTANTS,
    buttons=st.integers(0, 30).map(lambda n: (tuple(Button("x", ButtonPress("seed", 7, i)) for i in range(n)),)),
)
FILES = tuple(Upload(f"{n}.png", b"x", "an apple", spoiler=n == 1) for n in range(10))


def sent(view: LayoutView, files: tuple[Upload, ...] = ()) -> list[dict[str, Any]]:
    """The components of a view, which Discord takes."""
    components: list[dict[str, Any]] = view.to_components()  # type: ignore[no-untyped-call]  # discord.py's has no annotations
    check("POST", "/channels/{channel_id}/messages", {"components": components, "flags": IS_COMPONENTS_V2})
    check_message({"components": components}, {f.sent_as for f in files}, creates=True, v2=True)
    return components


def written(card: Card, files: tuple[Upload, ...] = ()) -> list[str]:
    """The texts of a card in their order, with a mark where its pictures are."""
    found = []
    for part in nested(sent(view_of(card, files), files)):
        if part["type"] == TEXT_DISPLAY:
            found += part["content"].split("\n")
        elif part["type"] == MEDIA_GALLERY:
            found.append(f"{len(part['items'])} pictures")
    return found


@given(cards, st.integers(0, 10), st.none() | st.just(5))
async def test_every_card_fits(card: Card, files: int, mention: int | None) -> None:
    sent(view_of(card, FILES[:files], mention=mention), FILES[:files])
    sent(plain_of(card, mention=mention))


async def test_a_finished_card_has_its_prompt_first_and_one_small_line_of_facts() -> None:
    card = Card(
        Tone.DONE,
        "Done: 2 pictures.",
        "an *apple*",
        "Ada",
        7,
        notes=("Note one.",),
        facts=(Fact("Seed", "7"),),
        quiet=True,
        summary=("seeds 7–8", "8 steps"),
    )
    assert written(card, FILES[:2]) == [
        "**an \\*apple\\***",
        "2 pictures",
        "-# Note one\\.",
        "-# seeds 7–8 · 8 steps",
        "-# Ada",
    ]
    (container,) = sent(view_of(card, FILES[:2]), FILES[:2])
    assert container["accent_color"] == COLOURS[Tone.DONE].value
    (gallery,) = (part for part in container["components"] if part["type"] == MEDIA_GALLERY)
    assert [(i["media"]["url"], i["description"], i["spoiler"]) for i in gallery["items"]] == [
        ("attachment://0.png", "an apple", False),
        ("attachment://SPOILER_1.png", "an apple", True),
    ]


async def test_a_running_card_says_how_far_it_is() -> None:
    card = Card(Tone.RUNNING, "Drawing.", "an apple", "Ada", 7, 0.5)
    assert written(card) == ["**an apple**", "Drawing\\.", "▰" * 8 + "▱" * 8, "-# Ada"]


async def test_a_card_about_no_job_begins_with_its_sentence() -> None:
    card = Card(Tone.INFO, "Your quota.", notes=("Note.",), facts=(Fact("Left", "7"), Fact("Empty", "")))
    assert written(card) == ["**Your quota\\.**", "Note\\.", "Left: 7"]


async def test_moments_are_shown_as_each_reader_counts_them() -> None:
    moments = (Instant("in 2 hours", 1_800_000_000.5), Instant("in 3 days", 1_800_259_200))
    card = Card(Tone.INFO, "More come back in 2 hours (+1).", notes=("Due in 3 days.", "None."), instants=moments)
    assert written(card) == ["**More come back <t:1800000000:R> \\(\\+1\\)\\.**", "Due <t:1800259200:R>\\.", "None\\."]


async def test_files_that_are_no_pictures_are_files() -> None:
    files = (Upload("data.zip", b"x", "", is_picture=False),)
    (container,) = sent(view_of(Card(Tone.INFO, "Your data."), files), files)
    assert container["components"][1]["file"]["url"] == "attachment://data.zip"


@pytest.mark.parametrize("count", [1, 5, 6, 24, 25, 30])
async def test_buttons_come_in_rows_of_five(count: int) -> None:
    row = tuple(Button(f"{i}", ButtonPress("seed", 7, i), danger=i == 0) for i in range(count))
    (container,) = sent(view_of(Card(Tone.DONE, "Done.", buttons=(row,))))
    rows = [part["components"] for part in container["components"] if part["type"] == ACTION_ROW]
    assert [len(r) for r in rows] == [5] * (min(count, 25) // 5) + [count % 5] * (count % 5 > 0 and count < 25)
    assert rows[0][0]["custom_id"] == "easel:seed:7:0"
    assert rows[0][0]["style"] == 4


async def test_views_are_not_kept() -> None:
    view = view_of(Card(Tone.DONE, "Done.", buttons=((Button("x" * 200, ButtonPress("reroll", 7)),),)))
    assert view.is_finished()
    (button,) = (part for part in nested(sent(view)) if part["type"] == BUTTON)
    assert len(button["label"]) == 80
