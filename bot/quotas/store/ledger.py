"""SQL of the ledger: reservations, charges and refunds of jobs, the usage in a window, and credits with what was spent of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bot.core.quotas import POINT, Credit, CreditKind, Unit
from bot.quotas.rules.limits import Measure, UsageEntry, UsageKey, sum_entries
from bot.quotas.rules.rule_resolution import WaitingJobs
from bot.storage.database import Tx
from bot.storage.sql import RowMapper

SLOT_SECONDS = 900
"""Length of a tally's slot, in seconds; the migration that created the tallies has the same number."""

_TALLIED_SECONDS = 9 * 86400
"""How long tallies are kept; the ledger's trigger has the same number."""

_NEWEST = 1000
"""How many of the newest entries are searched for one in the future."""

_WAITING = RowMapper(
    WaitingJobs,
    columns={
        "everywhere": "count(*)",
        "here": "coalesce(sum(place_id = ?), 0)",
        "in_channel": "coalesce(sum(place_id = ? AND channel = ?), 0)",
        "first": "min(id)",
    },
)

# The entries of one slot after a moment. A charge changes no sum.
_EDGE = (
    "ledger WHERE person_id = ? AND counted_at > ? AND counted_at < ?"
    " AND CAST(counted_at / 900 AS INTEGER) = ? AND kind <> 'charge'"
)

_SPENDING = "JOIN credit_uses u ON u.credit_id = c.id JOIN ledger l ON l.job_id = u.job_id AND l.kind = 'reserve'"

_EXPIRED = "c.expires_at > ?2 AND c.expires_at <= ?3 AND c.kind = 'borrowed' GROUP BY c.id, u.job_id HAVING place > 0"

_CREDITS = RowMapper(
    Credit,
    "credits",
    columns={"left": "pictures - coalesce((SELECT sum(pictures) FROM credit_uses WHERE credit_id = credits.id), 0)"},
)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """An entry of the ledger. Entries are only ever added.

    Attributes:
        job_id: The job.
        person_id: Its person.
        place_id: Its place; None in direct messages and on the page.
        channel: Its channel; empty outside of places.
        kind: ``reserve``, ``charge`` or ``refund``.
        reserved: Change of the job's reserved pictures.
        charged: Pictures that were charged.
        cost_each: The cost of one picture, in thousandths of a point.
        free: Change of the pictures that an owner's credits pay for.
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


@dataclass(frozen=True, slots=True)
class _PlacedUse:
    """A UsageEntry with the place and the channel where it was requested."""

    at: float
    owner: int
    place: int
    cost_each: int
    place_id: int | None
    channel: str


_ENTRIES = RowMapper(LedgerEntry, "ledger")
# A settled job has a charge or a refund already, so it is not found again.
_UNSETTLED = (
    "job_id = ? AND kind = 'reserve'"
    " AND NOT EXISTS (SELECT 1 FROM ledger s WHERE s.job_id = r.job_id AND s.kind <> 'reserve')"
)
# Mostly all pictures of a job are painted: one statement instead of two. A charge counts from the time of its
# reservation, so a slow queue does not use up a quota for longer.
_CHARGE_ALL = (
    "INSERT INTO ledger (job_id, person_id, place_id, channel, kind, reserved, charged, cost_each, free, free_here,"  # noqa: S608 - constants
    " counted_at, written_at) SELECT job_id, person_id, place_id, channel, 'charge', -reserved, reserved, cost_each, 0, 0,"
    f" counted_at, ? FROM ledger r WHERE {_UNSETTLED} AND reserved = ?"
)
_JOB_USES = RowMapper(
    _PlacedUse, columns={"at": "counted_at", "owner": "reserved - free", "place": "reserved - free - free_here"}
)
_LOAN_USES = RowMapper(
    _PlacedUse,
    columns={
        "at": "c.expires_at",
        "owner": "sum(u.pictures) * c.by_owner",
        "place": "sum(u.pictures)",
        "cost_each": "l.cost_each",
        "place_id": "l.place_id",
        "channel": "l.channel",
    },
)
# Loans of person ?1 that expired after ?2 and until ?3: they count as drawn from then on.
_OVERDUE = (
    f"SELECT {_LOAN_USES.columns} FROM credits c {_SPENDING} WHERE c.person_id = ?1 AND {_EXPIRED}"  # noqa: S608 - constants
    # Loans that the person shared with an account that was unlinked since.
    f" UNION ALL SELECT {_LOAN_USES.columns} FROM carried_credits k"
    f" JOIN credits c ON c.id = k.credit_id {_SPENDING} AND u.written_at <= k.until"
    f" WHERE k.person_id = ?1 AND c.person_id <> ?1 AND {_EXPIRED}"
)
# Usage without an entry of the person's own: jobs of accounts that were unlinked since, and overdue loans.
_OTHER_USES = (
    f"SELECT {_JOB_USES.columns} FROM ledger"  # noqa: S608 - constants
    " WHERE job_id IN (SELECT job_id FROM carried WHERE person_id = ?1) AND person_id <> ?1"
    f" AND counted_at > ?2 AND kind <> 'charge' UNION ALL {_OVERDUE}"
)


async def reserve(
    tx: Tx,
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
    """Count a job's pictures from now on. Raises sqlite3.IntegrityError if the job has a reservation already.

    Args:
        tx: A writing transaction.
        job_id: The job.
        person_id: Its person.
        place_id: Its place; None in direct messages and on the page.
        pictures: How many pictures.
        now: Unix seconds.
        channel: The channel in the place.
        cost_each: The cost of each picture, in thousandths of a point.
        free: How many of them an owner's credits pay for; ``credits.spend_credits`` takes these.
        free_here: How many of them the place's own credits pay for.
    """
    entry = LedgerEntry(
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
    await _ENTRIES.insert(tx, entry)


async def settle(tx: Tx, job_id: int, *, painted: int, now: float) -> None:
    """End a job's reservation: charge the painted pictures and refund the rest. Repeating it changes nothing.

    The refund returns credits first: an owner's, then the place's own.

    Args:
        tx: The writing transaction that moves the job to PAINTED, CANCELLED or FAILED.
        job_id: The job; one without a reservation is ignored.
        painted: How many pictures it has; at most as many as were reserved.
        now: Unix seconds.
    """
    if painted and (await tx.execute(_CHARGE_ALL, (now, job_id, painted))).rowcount == 1:
        return
    reservation = await _ENTRIES.select_one(tx, f"r WHERE {_UNSETTLED}", (job_id,))
    if reservation is None:
        return
    if not 0 <= painted <= reservation.reserved:
        raise ValueError(f"job {job_id} has {painted} pictures, but {reservation.reserved} were reserved")
    missing = reservation.reserved - painted
    returned = min(missing, reservation.free)
    returned_here = min(missing - returned, reservation.free_here)
    await return_credits(tx, job_id, returned, by_owner=True, now=now)
    await return_credits(tx, job_id, returned_here, by_owner=False, now=now)
    settled = replace(reservation, written_at=now)
    for entry in (
        replace(settled, kind="charge", reserved=-painted, charged=painted, free=0, free_here=0),
        replace(settled, kind="refund", reserved=-missing, charged=0, free=-returned, free_here=-returned_here),
    ):
        if entry.reserved:
            await _ENTRIES.insert(tx, entry)


async def refund(tx: Tx, job_id: int, *, now: float) -> None:
    """Refund all of a job's reservation: it was cancelled or has failed. Repeating it changes nothing."""
    await settle(tx, job_id, painted=0, now=now)


async def clamp_future(tx: Tx, *, now: float) -> int:
    """Move the entries that were counted in the future to now; returns how many there were.

    They predate a clock that was set back, and would use up quotas until that future has come.
    """
    newest = await tx.execute_fetchall("SELECT counted_at FROM ledger ORDER BY id DESC LIMIT ?", (_NEWEST,))
    if not any(row[0] > now for row in newest):
        return 0
    people = "(SELECT person_id FROM ledger WHERE counted_at > ?1)"
    # Rebuild these people's tallies: entries in the future have also removed tallies that were too old from there.
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


async def sum_used(tx: Tx, key: UsageKey, measures: Sequence[Measure], *, now: float) -> Mapping[Measure, int]:
    """Return the usage for each measure, in its unit.

    Whole slots come from the tallies. Only the slot in which a window begins is read entry by entry, so the time does
    not grow with the person's usage.
    """
    if not measures:
        return {}
    sums = [f"coalesce(sum(CASE WHEN slot > ?{_where(m)} THEN {_tally_column(m)} END), 0)" for m in measures]
    values = [value for m in measures for value in (_slot(m.since), *_where_values(m, key))]
    # Each of these selects returns one number: the usage in the slot in which a window begins.
    edges = [f"(SELECT coalesce(sum({_entry_amount(m)}), 0) FROM {_EDGE}{_where(m)})" for m in measures]  # noqa: S608
    edge_values = [value for m in measures for value in (*_edge_values(m, key), *_where_values(m, key))]
    first = min(_slot(measure.since) for measure in measures)
    rows, uses = await asyncio.gather(
        tx.execute_fetchall(
            f"SELECT {', '.join((*sums, *edges))} FROM tallies WHERE person_id = ? AND slot > ?",  # noqa: S608
            (*values, *edge_values, key.person_id, first),
        ),
        other_uses(tx, key, since=min(measure.since for measure in measures), now=now),
    )
    row, others = next(iter(rows)), sum_entries(measures, uses)
    whole, parts = row[: len(measures)], row[len(measures) :]
    return {m: n + edge + others[m] for m, n, edge in zip(measures, whole, parts, strict=True)}


async def oldest_use(tx: Tx, key: UsageKey, measure: Measure, *, now: float) -> tuple[float, int] | None:
    """Return when the oldest usage of a measure was counted, and its amount; None if there is none."""
    found = await _oldest_entry(tx, key, measure)
    if not found:
        rows = await tx.execute_fetchall(
            f"SELECT slot FROM tallies WHERE person_id = ? AND slot > ?{_where(measure)}"  # noqa: S608 - constants
            f" GROUP BY slot HAVING sum({_tally_column(measure)}) > 0 ORDER BY slot LIMIT 1",
            (key.person_id, _slot(measure.since), *_where_values(measure, key)),
        )
        for row in rows:
            # From just before the slot: its number selects its entries.
            found = await _oldest_entry(tx, key, replace(measure, since=row[0] * SLOT_SECONDS - 1.0), slot=row[0])
    found += [
        (u.at, n) for u in await other_uses(tx, key, since=measure.since, now=now) if (n := u.counts(measure)) > 0
    ]
    first = min((at for at, _ in found), default=None)
    return None if first is None else (first, sum(n for at, n in found if at == first))


async def _oldest_entry(tx: Tx, key: UsageKey, measure: Measure, *, slot: int | None = None) -> list[tuple[float, int]]:
    rows = await tx.execute_fetchall(
        f"SELECT counted_at, sum({_entry_amount(measure)}) AS n FROM {_EDGE}{_where(measure)}"  # noqa: S608 - constants
        " GROUP BY counted_at HAVING n > 0 ORDER BY counted_at LIMIT 1",
        (*_edge_values(measure, key, slot), *_where_values(measure, key)),
    )
    return [(row[0], row[1]) for row in rows]


async def count_waiting(tx: Tx, key: UsageKey, *, exclude: int = 0) -> WaitingJobs:
    """Return how many jobs of a person are held, queued or running, without the job ``exclude``."""
    found = await _WAITING.fetch(
        tx,
        # The condition of the partial index jobs_waiting, word for word, so that SQLite uses it.
        f"SELECT {_WAITING.columns} FROM jobs"  # noqa: S608 - constants
        " WHERE person_id = ? AND state IN ('held', 'queued', 'running') AND id <> ?",
        (key.place_id, key.place_id, key.channel, key.person_id, exclude),
    )
    return found[0]


async def other_uses(tx: Tx, key: UsageKey, *, since: float, now: float) -> tuple[UsageEntry, ...]:
    """Return the usage beyond the person's own jobs: overdue loans, and jobs of accounts that were unlinked since."""
    return tuple(
        UsageEntry(
            at=use.at,
            owner=use.owner,
            place=use.place,
            cost_each=use.cost_each,
            here=key.is_here(use.place_id),
            in_channel=key.is_here(use.place_id, use.channel),
        )
        for use in await _JOB_USES.fetch(tx, _OTHER_USES, (key.person_id, since, now))
    )


def _slot(at: float) -> int:
    """Return the slot of a moment, as the ledger's triggers compute it."""
    return int(at / SLOT_SECONDS)


def _edge_values(measure: Measure, key: UsageKey, slot: int | None = None) -> tuple[int | float, ...]:
    slot = _slot(measure.since) if slot is None else slot
    # One second more: the division alone decides to which slot an entry belongs.
    return key.person_id, measure.since, (slot + 1) * SLOT_SECONDS + 1.0, slot


def _where(measure: Measure) -> str:
    return " AND place_id = ?" * measure.in_place + " AND channel = ?" * measure.in_channel


def _where_values(measure: Measure, key: UsageKey) -> tuple[int | str | None, ...]:
    return (*((key.place_id,) * measure.in_place), *((key.channel,) * measure.in_channel))


def _tally_column(measure: Measure) -> str:
    side = "owner" if measure.by_owner else "own"
    return f"{side}_cost" if measure.unit is Unit.POINTS else side


def _entry_amount(measure: Measure) -> str:
    pictures = "reserved - free" if measure.by_owner else "reserved - free - free_here"
    return f"({pictures}) * cost_each" if measure.unit is Unit.POINTS else f"({pictures})"


@dataclass(frozen=True, slots=True)
class Grant:
    """Credits that were given or lent.

    Attributes:
        person_id: To whom.
        place_id: Where they may be spent; None: everywhere.
        kind: Given or lent.
        pictures: How many.
        by_owner: Given by an owner: they lift the owner's rule too.
        expires_at: Unix seconds; unspent credits are gone then.
    """

    person_id: int
    place_id: int | None
    kind: CreditKind
    pictures: int
    by_owner: bool
    expires_at: float


_GRANTS = RowMapper(Grant, "credits")


async def add_grant(tx: Tx, event: str, grant: Grant, *, given_by: str, now: float) -> None:
    """Store a grant. A revoked grant of the same event is restored as it was; an existing one stays as it is."""
    await tx.execute_fetchall(
        "INSERT INTO credits (person_id, place_id, kind, pictures, by_owner, given_by, given_at, expires_at, event)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (event) DO UPDATE SET revoked_at = NULL",
        (
            grant.person_id,
            grant.place_id,
            grant.kind.value,
            grant.pictures,
            int(grant.by_owner),
            given_by,
            now,
            grant.expires_at,
            event,
        ),
    )


async def grant_of_event(tx: Tx, event: str) -> Grant | None:
    """Return the grant of an event; None if there is none, or if it was revoked."""
    return await _GRANTS.select_one(tx, "WHERE event = ? AND revoked_at IS NULL", (event,))


async def was_granted(tx: Tx, event: str) -> bool:
    """Return whether an event has a grant, revoked or not."""
    return any(True for _ in await tx.execute_fetchall("SELECT 1 FROM credits WHERE event = ?", (event,)))


async def revoke_grant(tx: Tx, event: str, *, now: float) -> None:
    """Revoke a grant. Spent credits stay spent."""
    await tx.execute_fetchall("UPDATE credits SET revoked_at = ? WHERE event = ? AND revoked_at IS NULL", (now, event))


async def available_credits(tx: Tx, key: UsageKey, *, now: float) -> tuple[Credit, ...]:
    """Return the unspent credits of a person in a place, the first to expire first."""
    found = await _CREDITS.select(
        tx,
        "WHERE person_id = ? AND expires_at > ? AND revoked_at IS NULL"
        " AND (place_id = ? OR (place_id IS NULL AND by_owner)) ORDER BY expires_at, id",
        (key.person_id, now, key.place_id),
    )
    return tuple(credit for credit in found if credit.left > 0)


async def spend_credits(
    tx: Tx, credits_: Sequence[Credit], job_id: int, pictures: int, *, by_owner: bool, now: float
) -> None:
    """Pay for a job's pictures with an owner's credits or the place's own, the first to expire first.

    Args:
        tx: A writing transaction.
        credits_: The ``available_credits`` in this transaction.
        job_id: The job.
        pictures: How many to pay for.
        by_owner: With an owner's credits.
        now: Unix seconds.

    Raises:
        ValueError: There are fewer credits than pictures.
    """
    for credit in credits_:
        if credit.by_owner is by_owner and pictures:
            part = min(pictures, credit.left)
            await _add_credit_use(tx, credit.id, job_id, "spend", part, now=now)
            pictures -= part
    if pictures:
        raise ValueError(f"{pictures} credits are missing for job {job_id}")


async def return_credits(tx: Tx, job_id: int, pictures: int, *, by_owner: bool, now: float) -> None:
    """Return some of a job's credits, the last to expire first. Credits that expired meanwhile are lost."""
    if not pictures:
        return
    rows = await tx.execute_fetchall(
        "SELECT u.credit_id, u.pictures FROM credit_uses u JOIN credits c ON c.id = u.credit_id"
        " WHERE u.job_id = ? AND u.kind = 'spend' AND c.by_owner = ? ORDER BY c.expires_at DESC, c.id DESC",
        (job_id, int(by_owner)),
    )
    for credit_id, spent in rows:
        if pictures:
            part = min(pictures, spent)
            await _add_credit_use(tx, credit_id, job_id, "return", -part, now=now)
            pictures -= part


async def _add_credit_use(tx: Tx, credit_id: int, job_id: int, kind: str, pictures: int, *, now: float) -> None:
    await tx.execute_fetchall(
        "INSERT INTO credit_uses (credit_id, job_id, kind, pictures, written_at) VALUES (?, ?, ?, ?, ?)",
        (credit_id, job_id, kind, pictures, now),
    )
