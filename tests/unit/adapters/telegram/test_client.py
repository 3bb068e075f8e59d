"""How long the retrier waits, and what it reports meanwhile."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, cast

import pytest
from aiogram.exceptions import TelegramBadRequest, TelegramConflictError, TelegramForbiddenError
from aiogram.methods import GetUpdates

from adapters.telegram.client import ApiRetrier, PollingOptions
from bot.core.waits import ExponentialBackoff
from bot.studio import Studio
from tests.unit.adapters.telegram.conftest import bot_for

CONFLICT = TelegramConflictError(GetUpdates(), "Conflict: terminated by other getUpdates request")
OPTIONS = PollingOptions(
    unreachable=partial(ExponentialBackoff, 1.0, 8.0), refused=partial(ExponentialBackoff, 2.0, 30.0)
)


class Reports:
    """A Studio of which nothing but sentences and problems is needed."""

    def __init__(self) -> None:
        self.problems: list[str | None] = []

    def text(self, key: str, _locale: str, **params: Any) -> str:
        return f"{key} {params}"

    def connection_problem(self, _platform: str, problem: str | None) -> None:
        self.problems.append(problem)


class Calls:
    """A call that raises or returns what the test says, one after the other."""

    def __init__(self, *outcomes: object) -> None:
        self._left = list(outcomes)

    async def __call__(self) -> object:
        outcome = self._left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made; none takes any time."""
    made: list[float] = []

    async def sleep(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return made


async def test_two_readers_that_refuse_each_other_in_turn_wait_longer_and_longer(pauses: list[float]) -> None:
    reports = Reports()
    retrier = ApiRetrier(bot_for("http://127.0.0.1:1"), cast("Studio", reports), OPTIONS)
    for turn in range(6):
        assert await retrier.persist(Calls(CONFLICT, turn)) == turn
        assert reports.problems[-1] is None
        assert "telegram.problem.conflict" in str(reports.problems[-2])
    assert pauses == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


async def test_an_unexpected_refusal_ends_a_call_and_no_persistent_one(pauses: list[float]) -> None:
    reports = Reports()
    retrier = ApiRetrier(bot_for("http://127.0.0.1:1"), cast("Studio", reports), OPTIONS)
    refusals = TelegramBadRequest(GetUpdates(), "no"), TelegramForbiddenError(GetUpdates(), "no")
    assert await retrier.persist(Calls(*refusals, refusals[0], "done")) == "done"
    assert pauses == [1.0, 2.0, 4.0]
    # The first one usually passes; the others are reported until the call succeeds.
    assert [problem is None for problem in reports.problems] == [False, False, True]
    with pytest.raises(TelegramBadRequest):
        await retrier.call(Calls(refusals[0]))
