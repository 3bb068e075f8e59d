"""Rules as they are typed, written back and stored."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import BadInput
from bot.core.quotas import Dimension, Limit, RuleTerms, Unit, Window
from bot.quotas.rules.terms import (
    dump_terms,
    format_limit,
    format_pixels,
    format_terms,
    load_terms,
    parse_terms,
)

POINTS = Unit.POINTS


@pytest.mark.parametrize(
    ("typed", "limit"),
    [
        ("50/day", Limit(50)),
        (" 50 / DAY ", Limit(50)),
        ("50/天", Limit(50)),
        ("５０／日", Limit(50)),
        ("50 per day", Limit(50)),
        ("50 pictures a day", Limit(50)),
        ("每天50张", Limit(50)),
        ("每小时 5", Limit(5, Window.HOUR)),
        ("20/hour", Limit(20, Window.HOUR)),
        ("20/小时", Limit(20, Window.HOUR)),
        ("5张每个小时", Limit(5, Window.HOUR)),
        ("200/week", Limit(200, Window.WEEK)),
        ("200/周", Limit(200, Window.WEEK)),
        ("20/calendar day", Limit(20, Window.CALENDAR)),
        ("20 per calendar-day", Limit(20, Window.CALENDAR)),
        ("20/自然日", Limit(20, Window.CALENDAR)),
        ("每自然日 20 张", Limit(20, Window.CALENDAR)),
        ("40 points/day", Limit(40, Window.DAY, POINTS)),
        ("1 point per hour", Limit(1, Window.HOUR, POINTS)),
        ("40点/天", Limit(40, Window.DAY, POINTS)),
        ("每周 40 积分", Limit(40, Window.WEEK, POINTS)),
        ("0/day", Limit(0)),
        ("unlimited", Limit(None)),
        ("不限", Limit(None)),
    ],
)
def test_limits_are_read(typed: str, limit: Limit) -> None:
    assert parse_terms(typed) == RuleTerms((limit,))


@pytest.mark.parametrize(
    ("typed", "terms"),
    [
        ("5/hour 20/day", RuleTerms((Limit(5, Window.HOUR), Limit(20)))),
        ("20/day, 40 points/day", RuleTerms((Limit(20), Limit(40, Window.DAY, POINTS)))),
        ("at-once 2", RuleTerms(at_once=2)),
        ("at once: 2", RuleTerms(at_once=2)),
        ("同时2个", RuleTerms(at_once=2)),
        ("count 2", RuleTerms(count=2)),
        ("每次 2 张", RuleTerms(count=2)),
        ("size 1024x1024", RuleTerms(pixels=1024 * 1024)),
        ("SIZE 1024×768", RuleTerms(pixels=1024 * 768)),
        ("size 512", RuleTerms(pixels=512 * 512)),
        ("尺寸 512x512", RuleTerms(pixels=512 * 512)),
        ("steps 12", RuleTerms(steps=12)),
        ("步数12", RuleTerms(steps=12)),
        ("models demo,sdxl", RuleTerms(models=frozenset({"demo", "sdxl"}))),
        ("model z-image-turbo", RuleTerms(models=frozenset({"z-image-turbo"}))),
        ("模型 demo，sdxl", RuleTerms(models=frozenset({"demo", "sdxl"}))),
        ("unlimited at-once 2", RuleTerms((Limit(None),), at_once=2)),
        (
            "models demo, steps 12 and 20/day; size 640x480 count 2",
            RuleTerms((Limit(20),), count=2, pixels=640 * 480, steps=12, models=frozenset({"demo"})),
        ),
        ("20/天，同时 2，每次1张、步数 9", RuleTerms((Limit(20),), at_once=2, count=1, steps=9)),
    ],
)
def test_rules_are_read_in_any_order(typed: str, terms: RuleTerms) -> None:
    assert parse_terms(typed) == terms


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("", ""),
        ("50", "50"),
        ("day", "day"),
        ("-1/day", "-1/day"),
        ("1.5/day", "1.5/day"),
        ("50/month", "50/month"),
        ("50/day/day", "/day"),
        ("50/daylight", "50/daylight"),
        ("x/day", "x/day"),
        ("unlimited/day", "/day"),
        ("20/day at-once many", "at-once"),
        ("20/day colour red", "colour"),
        ("at-once 0", "at-once 0"),
        ("count 0", "count 0"),
        ("size 0x5", "size 0x5"),
        ("models", "models"),
        ("window.day", "window.day"),
    ],
)
def test_what_is_no_rule_is_refused_and_the_word_is_named(typed: str, named: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_terms(typed)
    assert (refused.value.key, refused.value.params) == ("refusal.quota.rule", {"value": named})


@pytest.mark.parametrize(
    "typed",
    [
        "1000001/day",
        "99999999999/hour",
        "9999999999999/hour",
        "每天99999999999999张",
        "at-once 1000001",
        "at-once " + "9" * 5000,
        "size 20000x2",
        "size 9999999x1",
        "steps 1000001",
        "count 99999999999999999999",
    ],
)
def test_absurd_rules_are_refused(typed: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_terms(typed)
    assert refused.value.key == "refusal.quota.rule_too_large"


@pytest.mark.parametrize(
    "typed",
    ["20/day 30/day", "count 2 count 2", "models a models b", "unlimited 5/day", "5/day unlimited", "size 5 size 6"],
)
def test_nothing_is_said_twice(typed: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_terms(typed)
    assert refused.value.key == "refusal.quota.twice"


NUMBERS = st.none() | st.integers(1, 1_000_000)
LIMITS = st.lists(
    st.builds(Limit, st.integers(0, 1_000_000), st.sampled_from(Window), st.sampled_from(Unit)),
    max_size=4,
    unique_by=lambda limit: (limit.window, limit.unit),
).map(tuple) | st.just((Limit(None),))
TERMS = st.builds(
    RuleTerms,
    limits=LIMITS,
    at_once=NUMBERS,
    count=NUMBERS,
    pixels=st.none() | st.builds(lambda w, h: w * h, st.integers(1, 2048), st.integers(1, 2048)),
    steps=NUMBERS,
    models=st.none() | st.frozensets(st.sampled_from(("demo", "sdxl", "z-image-turbo", "and", "day")), min_size=1),
).filter(lambda terms: terms != RuleTerms())


@given(TERMS)
def test_a_written_rule_is_read_back(terms: RuleTerms) -> None:
    assert parse_terms(format_terms(terms)) == terms
    assert load_terms(json.loads(json.dumps(dump_terms(terms)))) == terms


@given(st.text() | st.text(alphabet="0123456789/ dayhour每天周点sizex, 不限countmodels-"))
def test_any_text_is_a_rule_or_refused(typed: str) -> None:
    try:
        terms = parse_terms(typed)
    except BadInput:
        return
    assert any(terms.sets(dimension) for dimension in Dimension)


def test_rules_of_an_older_easel_are_read() -> None:
    assert load_terms({"limits": [{"amount": 5, "window": "hour"}]}) == RuleTerms((Limit(5, Window.HOUR),))


def test_pixels_are_written_as_a_size() -> None:
    assert [format_pixels(n) for n in (1024 * 1024, 1024 * 768, 7, 1)] == ["1024x1024", "1024x768", "7x1", "1x1"]
    assert format_limit(Limit(20, Window.CALENDAR, POINTS)) == "20 points/calendar day"
