"""Who is next: fair between people, and what can share a batch goes together. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from bot.ports import Ticket

LOOK_AHEAD = 64
"""So many are looked at for one that the engine has room for, or that wants the model that is loaded."""

PASSED_MOST = 4
"""So many batches may go before the one whose turn it is, because another model is loaded; then it is changed."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is still to be painted of one job.

    Attributes:
        ticket: What was queued.
        indexes: Pictures of the job to paint, 0-based; never empty.
        later: Pictures that found no room in this batch and go back into the queue after it.
        started: An earlier batch has taken some of its pictures: its row is running already.
        solo: It was in a batch that was lost, and is tried alone so that it can take nobody else with it.
    """

    ticket: Ticket
    indexes: tuple[int, ...]
    later: tuple[int, ...] = ()
    started: bool = False
    solo: bool = False

    def first(self, n: int) -> Work:
        """The first ``n`` of its pictures; the others are for later."""
        return replace(self, indexes=self.indexes[:n], later=self.indexes[n:])

    def rest(self) -> Work | None:
        """What is left for later; None when nothing is."""
        return replace(self, indexes=self.later, later=(), started=True) if self.later else None


def lead(works: Iterable[Work], fits: Callable[[Work], bool], loaded: str, passed: Mapping[int, int]) -> Work | None:
    """Choose who leads the next batch: the first that fits, or one behind it that wants the model that is loaded.

    Args:
        works: In the order of their turns.
        fits: Whether the engine has room for it now.
        loaded: The model that is on the device; empty where that is unknown.
        passed: How often each was passed already, by job.
    """
    first: Work | None = None
    for work in islice(works, LOOK_AHEAD):
        if not fits(work):
            continue
        if work.ticket.model == loaded or not loaded:
            return work
        if first is None:
            first = work
            if passed.get(work.ticket.job_id, 0) >= PASSED_MOST:
                break
    return first


def batch(lines: Sequence[Sequence[Work]], limit: int, lead: Work | None = None) -> tuple[Work, ...]:
    """Choose what is painted next, at most ``limit`` pictures.

    Args:
        lines: The work of each person who waits, in order; the person whose turn it is stands first. No line is empty.
        limit: Pictures worth painting together; at least 1.
        lead: Whose batch it is; the one whose turn it is when not given.

    Returns:
        Pieces of work that share a batch: the first one's turn it is, the others fill the room that it leaves, one
        piece of each person in turn. Empty when nobody waits.
    """
    if not lines:
        return ()
    lead = lead or lines[0][0]
    chosen = [lead.first(limit)]
    room = limit - len(chosen[0].indexes)
    if lead.solo:
        return tuple(chosen)
    others = (work for work in order(lines) if work is not lead)
    for work in others:
        if room <= 0:
            break
        if work.ticket.shares(lead.ticket) and not work.solo:
            chosen.append(work.first(room))
            room -= len(chosen[-1].indexes)
    return tuple(chosen)


def order(lines: Sequence[Sequence[Work]]) -> Iterator[Work]:
    """The order in which work is begun as things stand: everybody's first, then everybody's second, and so on."""
    depth = max((len(line) for line in lines), default=0)
    return (line[i] for i in range(depth) for line in lines if i < len(line))
