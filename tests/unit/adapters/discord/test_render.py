"""Cards in Discord's limits, with every text as it was typed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.discord.render import EMBED_CHARS, embed_of, escape, view_of
from bot.core.cards import Button, ButtonPress, Card, Fact, Tone
from tests.fakes.discord_spec import check_message

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


cards = st.builds(
    Card,
    tone=st.sampled_from(Tone),
    status=words,
    prompt=words | TRICKS,
    asker=words,
    progress=st.none() | st.floats(0, 1),
    notes=st.lists(words, max_size=12).map(tuple),
    facts=st.lists(st.builds(Fact, words, words), max_size=30).map(tuple),
)


@given(cards)
def test_every_card_fits(card: Card) -> None:
    embed = embed_of(card)
    if embed is not None:
        assert len(embed) <= EMBED_CHARS
        assert len(embed.description or "") <= 4096
        check_message({"embeds": [embed.to_dict()]}, set(), creates=True)


def test_a_card_says_all_it_has() -> None:
    card = Card(
        Tone.RUNNING, "Drawing.", "an apple", "Ada", 7, 0.5, ("Note one.",), (Fact("Seed", "7"), Fact("Empty", ""))
    )
    embed = embed_of(card)
    assert embed is not None
    lines = (embed.description or "").split("\n")
    assert lines == ["**Drawing\\.**", "▰" * 8 + "▱" * 8, "> an apple", "Note one\\."]
    assert [(f.name, f.value) for f in embed.fields] == [("Seed", "7")]
    assert embed.footer.text == "Ada"


def test_pictures_alone_need_no_embed() -> None:
    assert embed_of(Card(Tone.INFO, "")) is None


@pytest.mark.parametrize("count", [1, 5, 6, 24, 25, 30])
async def test_buttons_come_in_rows_of_five(count: int) -> None:
    row = tuple(Button(f"{i}", ButtonPress("seed", 7, i), danger=i == 0) for i in range(count))
    view = view_of(Card(Tone.DONE, "Done.", buttons=(row,)))
    assert view is not None
    rows = view.to_components()
    check_message({"components": rows, "content": "x"}, set(), creates=True)
    assert sum(len(r["components"]) for r in rows) == min(count, 25)
    assert rows[0]["components"][0]["custom_id"] == "easel:seed:7:0"
    assert rows[0]["components"][0]["style"] == 4


async def test_views_are_not_kept() -> None:
    view = view_of(Card(Tone.DONE, "Done.", buttons=((Button("x" * 200, ButtonPress("reroll", 7)),),)))
    assert view is not None
    assert view.is_finished()
    assert len(view.to_components()[0]["components"][0]["label"]) == 80


def test_no_buttons_no_view() -> None:
    assert view_of(Card(Tone.DONE, "Done.")) is None
