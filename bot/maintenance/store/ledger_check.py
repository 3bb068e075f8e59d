"""Whether the ledger comes out: what must hold of every job and every credit, whatever happened to them."""

from __future__ import annotations

from dataclasses import dataclass

import aiosqlite

_MOST = 20
"""So many faults of one sort are named."""

_OPEN = "('queued', 'running')"

# One row for each fault: its number. What a person had forgotten has no pictures any more, but was charged.
_SUMS = (
    "SELECT j.id, j.state, j.count, coalesce(sum(l.kind = 'reserve'), 0) AS begun, coalesce(sum(l.reserved), 0) AS held,"
    " coalesce(sum(l.charged), 0) AS charged, coalesce(sum(l.free), 0) AS free, coalesce(sum(l.free_here), 0) AS free_here,"
    " count(DISTINCT l.person_id) AS people, count(DISTINCT l.counted_at) AS times,"
    " (SELECT count(*) FROM pictures p WHERE p.job_id = j.id) AS painted,"
    " (SELECT coalesce(sum(u.pictures), 0) FROM credit_uses u WHERE u.job_id = j.id) AS paid"
    " FROM jobs j LEFT JOIN ledger l ON l.job_id = j.id GROUP BY j.id"
)
_FAULTS = (
    ("never reserved", "begun = 0 AND state NOT IN ('held', 'cancelled')"),
    ("reserved while it is held", "state = 'held' AND begun > 0"),
    ("not settled", f"state NOT IN {_OPEN} AND held <> 0"),
    ("settled too early", f"state IN {_OPEN} AND begun > 0 AND (held <> count OR charged <> 0)"),
    ("charged for what was not asked for", "charged < 0 OR charged > count"),
    ("painted for nothing", f"state NOT IN {_OPEN} AND painted > charged"),
    ("paid twice", "free < 0 OR free_here < 0 OR free + free_here > held + charged"),
    ("paid by no credits", "free + free_here <> paid"),
    ("counted for two people or at two times", "people > 1 OR times > 1"),
)
_OVERSPENT = (
    "SELECT c.id FROM credits c JOIN credit_uses u ON u.credit_id = c.id GROUP BY c.id"
    " HAVING sum(u.pictures) < 0 OR sum(u.pictures) > c.pictures"
)
_RETURNED = (
    "SELECT credit_id FROM credit_uses GROUP BY credit_id, job_id HAVING sum(pictures) < 0"
    " OR sum(kind = 'spend') <> 1 OR min(CASE kind WHEN 'spend' THEN pictures ELSE -pictures END) <= 0"
)
# Tallies are kept for nine days before somebody's newest; a week of them is compared.
_TALLIED = (
    "SELECT t.person_id FROM (SELECT person_id, max(slot) AS last FROM tallies GROUP BY person_id) t"
    " WHERE (SELECT sum(owner) || ' ' || sum(own) || ' ' || sum(owner_cost) || ' ' || sum(own_cost) FROM tallies"
    " WHERE person_id = t.person_id AND slot > t.last - 672) <> (SELECT sum(reserved - free) || ' ' ||"
    " sum(reserved - free - free_here) || ' ' || sum((reserved - free) * cost_each) || ' ' ||"
    " sum((reserved - free - free_here) * cost_each) FROM ledger WHERE person_id = t.person_id AND kind <> 'charge'"
    " AND counted_at > (t.last - 673) * 900.0 AND CAST(counted_at / 900 AS INTEGER) > t.last - 672)"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that does not come out: what, in English for operators, and of which job, credit or person."""

    what: str
    number: int


async def faults(tx: aiosqlite.Connection) -> tuple[Fault, ...]:
    """Return what does not come out; nothing when all is well. Reads everything: for the doctor and for tests."""
    which = ", ".join(f"({test})" for _, test in _FAULTS)
    found = []
    any_of = " OR ".join(f"({test})" for _, test in _FAULTS)
    for number, *broken in await tx.execute_fetchall(
        f"SELECT id, {which} FROM ({_SUMS}) WHERE {any_of} LIMIT {_MOST}"  # noqa: S608 - constants
    ):
        found += [Fault(f"job {what}", number) for (what, _), true in zip(_FAULTS, broken, strict=True) if true]
    for what, query in (
        ("credit overspent", _OVERSPENT),
        ("credit given back wrongly", _RETURNED),
        ("person tallied wrongly", _TALLIED),
    ):
        rows = await tx.execute_fetchall(f"{query} LIMIT {_MOST}")
        found += [Fault(what, row[0]) for row in rows]
    return tuple(found)
