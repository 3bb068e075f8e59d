"""Which updates are handled, and from which one on Telegram is asked."""

from __future__ import annotations

from adapters.telegram.window import Window


def test_an_update_is_begun_once_though_it_is_told_again() -> None:
    window = Window()
    assert [window.begin(7), window.begin(8), window.begin(7)] == [True, True, False]
    window.finish(7)
    assert window.offset == 8
    # The answer was under way when it was finished.
    assert not window.begin(7)
    assert window.offset == 8


def test_nothing_is_confirmed_before_what_came_earlier_is_finished() -> None:
    window = Window()
    for update_id in (7, 8, 9):
        window.begin(update_id)
    window.finish(8)
    assert window.offset == 7
    window.finish(7)
    assert window.offset == 9


def test_ids_that_begin_anew_are_taken() -> None:
    window = Window()
    window.begin(1_000_000)
    window.finish(1_000_000)
    assert window.begin(5)
    window.finish(5)
    assert window.offset == 6
