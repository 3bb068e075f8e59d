"""The ledger: what is reserved, charged and refunded for each job, and what of it counts in a window."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import aiosqlite

from bot.core.quotas import POINT, Unit
from bot.quotas.rules import Asker, Measure, Use, WaitingJobs, counted
from bot.quotas.store import credits as credit_rows
from bot.quotas.store.credits import PlacedUse
from bot.storage.sql import RowMapper

SLOT_SECONDS = 900
"""Length of a slot of the tallies; the migration that made them has it too."""

_TALLIED_SECONDS = 9 * 86400
"""For so long the tallies are kept; the trigger of the ledger has it too."""

_NEWEST = 1000
"""Number of the newest lines that are searched for one in the future."""


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """A line of the ledger. Lines are only ever added.

    Attributes:
        kind: ``reserve``, ``charge`` or ``refund``.
        reserved: Change of the job's reserved pictures.
        charged: Pictures that were charged.
        cost_each: Cost of one picture, in thousandths of a point.
        free: Change of the pictures that an operator's credits pay for.
        free_here: Change of the pictures that the place's own credits pay for.
        counted_at: When it counts, in Unix seconds.
        written_at: When it was written, in Unix seconds.
    """

    job_id: int
    person_id: int
    place_id: int | None
    channel: str
    kind: str
    reserved: int
    charged: int
    cost_each: int
    free: int
    free_here: int
    counted_at: float
    written_at: float


_LINES = RowMapper(LedgerLine, "ledger")
_USES = RowMapper(
    PlacedUse,
    columns={"at": "counted_at", "owner": "reserved - free", "own": "reserved - free - free_here"},
)
_WAITING = RowMapper(
    WaitingJobs,
    columns={
        "everywhere": "count(*)",
        "here": "coalesce(sum(place_id = ?), 0)",
        "in_channel": "coalesce(sum(place_id = ? AND channel = ?), 0)",
        "first": "min(id)",
    },
)
# The lines of one slot from a moment on; a charge changes no sum.
_EDGE = (
    "ledger WHERE person_id = ? AND counted_at > ? AND counted_at < ?"
    " AND CAST(counted_at / 900 AS INTEGER) = ? AND kind <> 'charge'"
)
# What an account drew that was parted from this person's since, and what was borrowed.
_BESIDE = (
    f"SELECT {_USES.columns} FROM ledger"  # noqa: S608
    " WHERE job_id IN (SELECT job_id FROM carried WHERE person_id = ?1) AND person_id <> ?1"
    f" AND counted_at > ?2 AND kind <> 'charge' UNION ALL {credit_rows.DUE}"
)


async def reserve(
    tx: aiosqlite.Connection,
    *,
    job_id: int,
    person_id: int,
    place_id: int | None,
    pictures: int,
    now: float,
    channel: str = "",
    cost_each: int = POINT,
    free: int = 0,
    free_here: int = 0,
) -> None:
    """Count a job's pictures from now on. Raises sqlite3.IntegrityError when the job has a reservation already.

    Args:
        tx: A writing transaction.
        job_id: Which job.
        person_id: Whose.
        place_id: Where; None in direct messages and on the page.
        pictures: How many.
        now: Unix seconds.
        channel: Where in the place.
        cost_each: What each of them costs, in thousandths of a point.
        free: How many of them an owner's credits pay for; ``credits.spend`` takes them.
        free_here: How many the place's own credits pay for.
    """
    line = LedgerLine(
        job_id=job_id,
        person_id=person_id,
        place_id=place_id,
        channel=channel,
        kind="reserve",
        reserved=pictures,
        charged=0,
        cost_each=cost_each,
        free=free,
        free_here=free_here,
        counted_at=now,
        written_at=now,
    )
    await _LINES.insert(tx, line)


async def settle(tx: aiosqlite.Connection, job_id: int, *, painted: int, now: float) -> None:
    """End a job's reservation: charge what was painted and refund the rest. Doing it again changes nothing.

    What was not painted gives credits back first: an owner's, then the place's own.

    Args:
        tx: A writing transaction; the one that moves the job to PAINTED, CANCELLED or FAILED.
        job_id: Which job; one without a reservation is left alone.
        painted: How many pictures it has; at most as many as were reserved.
        now: Unix seconds.
    """
    # What is settled counts from when it was reserved, so a slow queue takes nobody's quota for longer.
    # A settled job has a charge or a refund already: it is found once only.
    reservation = await _LINES.select_one(
        tx,
        "r WHERE job_id = ? AND kind = 'reserve'"
        " AND NOT EXISTS (SELECT 1 FROM ledger s WHERE s.job_id = r.job_id AND s.kind <> 'reserve')",
        (job_id,),
    )
    if reservation is None:
        return
    if not 0 <= painted <= reservation.reserved:
        raise ValueError(f"job {job_id} has {painted} pictures, but {reservation.reserved} were reserved")
    missing = reservation.reserved - painted
    back = min(missing, reservation.free)
    back_here = min(missing - back, reservation.free_here)
    await credit_rows.give_back(tx, job_id, back, by_owner=True, now=now)
    await credit_rows.give_back(tx, job_id, back_here, by_owner=False, now=now)
    settled = replace(reservation, written_at=now)
    for line in (
        replace(settled, kind="charge", reserved=-painted, charged=painted, free=0, free_here=0),
        replace(settled, kind="refund", reserved=-missing, charged=0, free=-back, free_here=-back_here),
    ):
        if line.reserved:
            await _LINES.insert(tx, line)


async def refund(tx: aiosqlite.Connection, job_id: int, *, now: float) -> None:
    """Give all of a job's reservation back: it was cancelled or has failed. Doing it again changes nothing."""
    await settle(tx, job_id, painted=0, now=now)


async def clamp(tx: aiosqlite.Connection, *, now: float) -> int:
    """Let what was counted in the future count from now on; returns how many lines there were.

    It was counted before the clock was set back, and would take people's quotas until that future has come.
    """
    newest = await tx.execute_fetchall("SELECT counted_at FROM ledger ORDER BY id DESC LIMIT ?", (_NEWEST,))
    if not any(row[0] > now for row in newest):
        return 0
    people = "(SELECT person_id FROM ledger WHERE counted_at > ?1)"
    # The tallies of these people anew: what was counted in the future has also cleared what was old from there.
    await tx.execute_fetchall(f"DELETE FROM tallies WHERE person_id IN {people}", (now,))  # noqa: S608 - constants
    await tx.execute_fetchall(
        "INSERT INTO tallies SELECT person_id, CAST(min(counted_at, ?1) / 900 AS INTEGER), coalesce(place_id, 0), channel,"  # noqa: S608 - constants
        " sum(reserved - free), sum(reserved - free - free_here), sum((reserved - free) * cost_each),"
        " sum((reserved - free - free_here) * cost_each) FROM ledger"
        f" WHERE kind <> 'charge' AND counted_at > ?1 - ?2 AND person_id IN {people} GROUP BY 1, 2, 3, 4",
        (now, _TALLIED_SECONDS),
    )
    cursor = await tx.execute("UPDATE ledger SET counted_at = ?1 WHERE counted_at > ?1", (now,))
    return cursor.rowcount


async def used(
    tx: aiosqlite.Connection, asker: Asker, measures: Sequence[Measure], *, now: float
) -> Mapping[Measure, int]:
    """Return what counts for each limit, in its unit, however much somebody drew: whole slots of the tallies are summed
    up, and only the slot in which a window begins is read line by line.
    """
    if not measures:
        return {}
    sums = [f"coalesce(sum(CASE WHEN slot > ?{_where(m)} THEN {_column(m)} END), 0)" for m in measures]
    values = [value for m in measures for value in (_slot(m.since), *_values(m, asker))]
    # Each of these selects is one number: what counts of the slot in which a window begins.
    edges = [f"(SELECT coalesce(sum({_value(m)}), 0) FROM {_EDGE}{_where(m)})" for m in measures]  # noqa: S608
    bounds = [value for m in measures for value in (*_edge(m, asker), *_values(m, asker))]
    first = min(_slot(measure.since) for measure in measures)
    rows, uses = await asyncio.gather(
        tx.execute_fetchall(
            f"SELECT {', '.join((*sums, *edges))} FROM tallies WHERE person_id = ? AND slot > ?",  # noqa: S608
            (*values, *bounds, asker.person_id, first),
        ),
        beside(tx, asker, since=min(measure.since for measure in measures), now=now),
    )
    row, others = next(iter(rows)), counted(measures, uses)
    whole, parts = row[: len(measures)], row[len(measures) :]
    return {m: n + edge + others[m] for m, n, edge in zip(measures, whole, parts, strict=True)}


async def oldest(tx: aiosqlite.Connection, asker: Asker, measure: Measure, *, now: float) -> tuple[float, int] | None:
    """Return when the oldest of what counts for a limit was counted, and how much it was; None where nothing counts."""
    found = await _oldest_line(tx, asker, measure)
    if not found:
        rows = await tx.execute_fetchall(
            f"SELECT slot FROM tallies WHERE person_id = ? AND slot > ?{_where(measure)}"  # noqa: S608 - constants
            f" GROUP BY slot HAVING sum({_column(measure)}) > 0 ORDER BY slot LIMIT 1",
            (asker.person_id, _slot(measure.since), *_values(measure, asker)),
        )
        for row in rows:
            # Just before the slot begins; a slot's lines are told by the slot.
            found = await _oldest_line(tx, asker, replace(measure, since=row[0] * SLOT_SECONDS - 1.0), slot=row[0])
    found += [(u.at, n) for u in await beside(tx, asker, since=measure.since, now=now) if (n := u.counts(measure)) > 0]
    first = min((at for at, _ in found), default=None)
    return None if first is None else (first, sum(n for at, n in found if at == first))


async def _oldest_line(
    tx: aiosqlite.Connection, asker: Asker, measure: Measure, *, slot: int | None = None
) -> list[tuple[float, int]]:
    rows = await tx.execute_fetchall(
        f"SELECT counted_at, sum({_value(measure)}) AS n FROM {_EDGE}{_where(measure)}"  # noqa: S608 - constants
        " GROUP BY counted_at HAVING n > 0 ORDER BY counted_at LIMIT 1",
        (*_edge(measure, asker, slot), *_values(measure, asker)),
    )
    return [(row[0], row[1]) for row in rows]


async def waiting(tx: aiosqlite.Connection, asker: Asker, *, but: int = 0) -> WaitingJobs:
    """Return how many of somebody's jobs are held, queued or running; without the job ``but``, which is asked for."""
    found = await _WAITING.fetch(
        tx,
        # The same words as in the partial index jobs_waiting, so that it is used.
        f"SELECT {_WAITING.columns} FROM jobs"  # noqa: S608 - constants
        " WHERE person_id = ? AND state IN ('held', 'queued', 'running') AND id <> ?",
        (asker.place_id, asker.place_id, asker.channel, asker.person_id, but),
    )
    return found[0]


async def beside(tx: aiosqlite.Connection, asker: Asker, *, since: float, now: float) -> tuple[Use, ...]:
    """Return what counts beside one's own jobs: what was borrowed and is due, and what a parted account drew."""
    return tuple(
        Use(
            at=use.at,
            owner=use.owner,
            own=use.own,
            cost_each=use.cost_each,
            here=asker.is_here(use.place_id),
            in_channel=asker.is_here(use.place_id, use.channel),
        )
        for use in await _USES.fetch(tx, _BESIDE, (asker.person_id, since, now))
    )


def _slot(at: float) -> int:
    """Return the slot of a moment, as the triggers of the ledger do."""
    return int(at / SLOT_SECONDS)


def _edge(measure: Measure, asker: Asker, slot: int | None = None) -> tuple[int | float, ...]:
    slot = _slot(measure.since) if slot is None else slot
    # A second more: which slot a line is in is told by the division alone.
    return asker.person_id, measure.since, (slot + 1) * SLOT_SECONDS + 1.0, slot


def _where(measure: Measure) -> str:
    return " AND place_id = ?" * measure.in_place + " AND channel = ?" * measure.in_channel


def _values(measure: Measure, asker: Asker) -> tuple[int | str | None, ...]:
    return (*((asker.place_id,) * measure.in_place), *((asker.channel,) * measure.in_channel))


def _column(measure: Measure) -> str:
    side = "owner" if measure.by_owner else "own"
    return f"{side}_cost" if measure.unit is Unit.POINTS else side


def _value(measure: Measure) -> str:
    pictures = "reserved - free" if measure.by_owner else "reserved - free - free_here"
    return f"({pictures}) * cost_each" if measure.unit is Unit.POINTS else f"({pictures})"
