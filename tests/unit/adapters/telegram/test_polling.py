"""From which update on Telegram is asked again, and when."""

from __future__ import annotations

import asyncio

from adapters.telegram.polling import UpdateWindow
from tests.unit.adapters.telegram.conftest import idle


def test_nothing_is_confirmed_before_what_came_earlier_is_saved() -> None:
    window = UpdateWindow()
    assert [window.begin(n) for n in (7, 8, 9)] == [True, True, True]
    assert window.offset == 7
    window.finish(8)
    assert window.offset == 7
    # Telegram tells them again, and none is begun twice.
    assert [window.begin(n) for n in (7, 8, 9, 10)] == [False, False, False, True]
    window.finish(7)
    assert window.offset == 9
    window.finish(10)
    window.finish(9)
    assert window.offset == 11


def test_ids_that_begin_anew_are_followed() -> None:
    """After a week without updates Telegram chooses the next id at random."""
    window = UpdateWindow()
    window.begin(9_000_000)
    window.finish(9_000_000)
    assert window.begin(17)
    window.finish(17)
    assert window.offset == 18


async def test_telegram_is_asked_at_once_when_nothing_is_open_or_much_is_finished() -> None:
    window = UpdateWindow()
    window._pause = 60.0
    async with asyncio.timeout(10):
        await window.ready()
        for n in range(100):
            window.begin(n)
        window._pause = 60.0
        asking = asyncio.create_task(window.ready())
        await idle()
        assert not asking.done()
        for n in range(10):
            window.finish(n)
        await asking
    assert window.offset == 10


async def test_telegram_is_asked_now_and_then_while_something_takes_long() -> None:
    window = UpdateWindow()
    window.begin(1)
    window._pause = 0.001
    async with asyncio.timeout(10):
        for _ in range(3):
            await window.ready()
    assert window._pause == 0.008
    window.begin(2)
    assert window._pause == 0.1


def test_an_update_is_begun_once_though_it_is_told_again() -> None:
    window = UpdateWindow()
    assert [window.begin(7), window.begin(8), window.begin(7)] == [True, True, False]
    window.finish(7)
    assert window.offset == 8
    # The answer was under way when it was finished.
    assert not window.begin(7)
    assert window.offset == 8


def test_nothing_is_confirmed_before_what_came_earlier_is_finished() -> None:
    window = UpdateWindow()
    for update_id in (7, 8, 9):
        window.begin(update_id)
    window.finish(8)
    assert window.offset == 7
    window.finish(7)
    assert window.offset == 9


def test_ids_that_begin_anew_are_taken() -> None:
    window = UpdateWindow()
    window.begin(1_000_000)
    window.finish(1_000_000)
    assert window.begin(5)
    window.finish(5)
    assert window.offset == 6
