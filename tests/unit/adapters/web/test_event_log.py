"""The log of a person's feed: who resumes from it, and who has to fetch the feed again."""

from __future__ import annotations

import pytest

from adapters.web.event_log import MOST_JOBS, EventLog


@pytest.fixture
def changes() -> EventLog:
    """A log that begins after change 7, with the changes 8 to 10 of three jobs."""
    log = EventLog(7)
    for number in (8, 9, 10):
        log.put(number * 100, number, b"%d" % number)
    return log


def numbers(log: EventLog, position: int) -> list[int]:
    return [entry.number for entry in log.after(position)]


def test_a_reader_gets_each_change_after_its_last_one(changes: EventLog) -> None:
    assert [numbers(changes, position) for position in (7, 8, 10)] == [[8, 9, 10], [9, 10], []]
    changes.put(800, 11, b"11")
    assert numbers(changes, 8) == [9, 10, 11]
    assert numbers(changes, 7) == [9, 10, 11], "an earlier change of the same job is dropped"


def test_a_reader_from_before_the_log_or_after_its_last_change_does_not_resume(changes: EventLog) -> None:
    found = [changes.position(changes.event_id(number), 10) for number in (6, 7, 10, 11)]
    assert found == [None, 7, 10, None]
    assert EventLog(7).position(changes.event_id(7), 10) is None, "another log has another token"


def test_a_reader_from_before_a_dropped_change_does_not_resume(changes: EventLog) -> None:
    changes.drop(10)
    assert [changes.has_dropped(position) for position in (9, 10)] == [True, False]
    assert numbers(changes, 7) == []


def test_the_oldest_change_is_dropped_where_there_are_too_many() -> None:
    log = EventLog(0)
    for number in range(1, MOST_JOBS + 2):
        log.put(number, number, b"")
    assert [log.has_dropped(position) for position in (0, 1)] == [True, False]
    assert len(log.after(0)) == MOST_JOBS


def test_changes_that_nobody_read_are_taken_once(changes: EventLog) -> None:
    changes.put(1100, 11, None)
    assert changes.take_unread() == (1100,)
    assert changes.take_unread() == ()
    assert numbers(changes, 9) == [10]
