"""Cards as text: within Telegram's limits, and nothing of a person's ever becomes markup."""

from __future__ import annotations

import pytest
from aiogram.types import MessageEntity
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.telegram.render import ANSWER_LIMIT, CAPTION_LIMIT, TEXT_LIMIT, answer, clip, keyboard, words
from bot.core.cards import Button, ButtonPress, Card, Fact, Instant, Tone
from tests.fakes.telegram_limits import length
from tests.fakes.telegram_world import Chat, Msg, Person

TYPED = st.text(max_size=300) | st.sampled_from(
    ["@everyone look", "ping @somebody_here", "*bold* <b>x</b> [a](http://b.c)", "😀" * 3000, "貓" * 4000, "a\nb\n\nc"]
)
CARDS = st.builds(
    Card,
    tone=st.sampled_from(Tone),
    status=TYPED,
    prompt=TYPED,
    progress=st.none() | st.floats(-1, 2),
    notes=st.lists(TYPED, max_size=3).map(tuple),
    facts=st.lists(st.builds(Fact, label=st.text(max_size=20), value=TYPED), max_size=9).map(tuple),
    job_id=st.none() | st.just(7),
    summary=st.lists(TYPED, max_size=3).map(tuple),
    instants=st.lists(st.builds(Instant, TYPED, st.integers(0, 2**31)), max_size=2).map(tuple),
)


def shown(text: str, entities: list[MessageEntity]) -> Msg:
    """The message as the stand-in reads it."""
    dumped = [e.model_dump(exclude_none=True) for e in entities]
    return Msg(1, Chat(1, "private"), Person(1, "x"), 0, text=text, entities=dumped)


@settings(deadline=None)
@given(CARDS, st.sampled_from([CAPTION_LIMIT, TEXT_LIMIT]))
def test_every_card_fits_and_mentions_nobody(card: Card, limit: int) -> None:
    text, entities = words(card, limit)
    assert length(text) <= limit
    for entity in entities:
        assert entity.length > 0
        assert entity.offset + entity.length <= length(text)
    assert shown(text, entities).mentions() == []


def test_a_prompt_that_fits_is_shown_whole_and_as_code() -> None:
    card = Card(Tone.DONE, "Done.", prompt="a *red* <b>apple</b> for @somebody", facts=(Fact("Seed", "7"),))
    message = shown(*words(card, CAPTION_LIMIT))
    assert "a *red* <b>apple</b> for @somebody" in message.code()
    assert "7" in message.code()
    assert "Seed: 7" in message.words


def test_a_finished_card_has_its_prompt_first_and_one_line_of_facts() -> None:
    card = Card(
        Tone.DONE,
        "Done: 1 picture.",
        "an apple",
        job_id=7,
        notes=("A note.",),
        facts=(Fact("Seed", "7"),),
        quiet=True,
        summary=("seed 7", "8 steps"),
    )
    assert words(card, CAPTION_LIMIT)[0].splitlines() == ["an apple", "A note.", "seed 7 · 8 steps"]


def test_moments_are_shown_as_each_reader_counts_them() -> None:
    moment = Instant("in 2 hours", 1_800_000_000.5)
    text, entities = words(Card(Tone.INFO, "One more in 2 hours (+1).", instants=(moment,)), TEXT_LIMIT)
    (time,) = (e for e in entities if e.type == "date_time")
    assert text[time.offset : time.offset + time.length] == "in 2 hours"
    assert (time.unix_time, time.date_time_format) == (1_800_000_000, "r")


def test_what_is_cut_off_in_the_middle_stays_code() -> None:
    facts = tuple(Fact("Seed", "@somebody" * 12) for _ in range(20))
    text, entities = words(Card(Tone.DONE, "Done.", facts=facts), CAPTION_LIMIT)
    assert length(text) <= CAPTION_LIMIT
    assert shown(text, entities).mentions() == []


def test_a_long_prompt_is_shortened_and_the_facts_stay() -> None:
    card = Card(Tone.DONE, "Done.", prompt="long " * 500, facts=(Fact("Seed", "9223372036854775807"),))
    text, _ = words(card, CAPTION_LIMIT)
    assert length(text) > CAPTION_LIMIT - 5
    assert "…" in text
    assert text.endswith("9223372036854775807")


@pytest.mark.parametrize(("progress", "full"), [(0.0, 0), (0.5, 6), (1.0, 12), (7.0, 12)])
def test_progress_is_a_bar(progress: float, full: int) -> None:
    text, _ = words(Card(Tone.RUNNING, "Drawing.", progress=progress), TEXT_LIMIT)
    assert text.count("█") == full
    assert text.count("█") + text.count("░") == 12


def test_no_progress_is_no_bar() -> None:
    assert "░" not in words(Card(Tone.WAITING, "Waiting."), TEXT_LIMIT)[0]


@settings(deadline=None)
@given(st.text(max_size=400), st.integers(1, 300))
def test_clip_keeps_to_the_limit(text: str, limit: int) -> None:
    clipped = clip(text, limit)
    assert length(clipped) <= limit
    assert clipped == text or clipped.endswith("…")
    assert text.startswith(clipped.removesuffix("…"))


def test_a_long_answer_to_a_press_is_cut() -> None:
    assert length(answer("x" * 500)) == ANSWER_LIMIT
    assert answer("short") == "short"


def test_buttons_carry_their_press_and_danger_is_red() -> None:
    rows = (
        (Button("Reroll", ButtonPress("reroll", 9)), Button("Cancel", ButtonPress("cancel", 9), danger=True)),
        (),
        (Button("Seed of 1", ButtonPress("seed", 9, 0)),),
    )
    markup = keyboard(Card(Tone.DONE, "Done.", buttons=rows))
    assert markup is not None
    assert [[b.callback_data for b in row] for row in markup.inline_keyboard] == [
        ["easel:reroll:9", "easel:cancel:9"],
        ["easel:seed:9:0"],
    ]
    assert [b.style for b in markup.inline_keyboard[0]] == [None, "danger"]


def test_no_buttons_is_no_keyboard() -> None:
    assert keyboard(Card(Tone.DONE, "Done.", buttons=((),))) is None
