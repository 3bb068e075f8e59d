"""Reading a search: filters in both languages, and words that only look like one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import BadInput
from bot.history.queries import Query, parse_query


def day(year: int, month: int = 1, day: int = 1) -> float:
    return datetime(year, month, day, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("typed", "query"),
    [
        ("Red cats", Query(words=("red", "cats"))),
        ("model:demo", Query(model="demo")),
        ("模型：Demo 猫", Query(words=("猫",), model="demo")),
        ("seed:7 seed:８", Query(seed=8)),
        ("种子:9223372036854775807", Query(seed=2**63 - 1)),
        ("size:512x768", Query(size=(512, 768))),
        ("尺寸：512×768", Query(size=(512, 768))),
        ("is:favourite", Query(favourite=True)),
        ("IS:Favorites", Query(favourite=True)),
        ("is:收藏 猫", Query(words=("猫",), favourite=True)),
        ("★ cat", Query(words=("cat",), favourite=True)),
        ("after:2026", Query(since=day(2026))),
        ("before:2026-11", Query(until=day(2026, 11))),
        ("after:2026-11-05 before:2026/12/1", Query(since=day(2026, 11, 5), until=day(2026, 12))),
        ("之后：2026年11月5日", Query(since=day(2026, 11, 5))),
        ("之前:2026年11月", Query(until=day(2026, 11))),
        ("ratio:16 is:pretty model:", Query(words=("ratio", "16", "is", "pretty", "model"))),
    ],
)
def test_a_search_is_read(typed: str, query: Query) -> None:
    assert parse_query(typed) == query


@pytest.mark.parametrize("typed", ["seed:x", "seed:-1", "seed:9223372036854775808", "size:1", "size:1x", "before:x"])
def test_a_filter_that_can_not_be_read_is_refused(typed: str) -> None:
    with pytest.raises(BadInput):
        parse_query(typed)


@pytest.mark.parametrize(
    "typed", ["before:2026-13", "after:0000", "after:2026-1-32", "after:99999", "before:2026-02-29"]
)
def test_a_day_that_never_was_is_refused(typed: str) -> None:
    with pytest.raises(BadInput, match=r"refusal\.search\.date"):
        parse_query(typed)


@given(st.text(max_size=220))
def test_whatever_is_typed_is_read_or_refused(typed: str) -> None:
    try:
        query = parse_query(typed)
    except BadInput:
        return
    assert query != Query()
