"""The index of the history: which words each job with pictures has, and which jobs have all that is sought."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import aiosqlite

from bot.core import recipes
from bot.core.jobs import Job
from bot.history import segmentation
from bot.history.model import Query
from bot.history.store import favourites as favourite_rows
from bot.storage import jobs

BATCH = 100
"""Jobs that are indexed in one transaction at start: admission waits for no more."""

_PAGES = 64
"""Pages of the index that are merged in one transaction."""

_NEWEST = 2**62


async def put(tx: aiosqlite.Connection, job: Job) -> None:
    """Index a job that has pictures, or index it anew."""
    await put_all(tx, (job,))


async def put_all(tx: aiosqlite.Connection, some: Sequence[Job]) -> None:
    """Index jobs that have pictures, or index them anew."""
    marks = ", ".join("?" * len(some))
    ids = [job.id for job in some]
    await tx.execute_fetchall(f"DELETE FROM found WHERE rowid IN ({marks})", ids)  # noqa: S608 - question marks
    kept = await favourite_rows.by_their_own(tx, ids)
    # A generator: the words are made on the database's thread, not on the event loop.
    await tx.executemany(
        "INSERT INTO found (rowid, words) VALUES (?, ?)",
        ((job.id, _words(job, favourite=job.id in kept)) for job in some),
    )


async def find(
    tx: aiosqlite.Connection, person_id: int, query: Query, *, limit: int, before: int | None = None
) -> tuple[int, ...]:
    """Return the ids of a person's own jobs with pictures that have all that is sought, newest first.

    Args:
        tx: A transaction.
        person_id: Whose.
        query: What.
        limit: At most so many.
        before: Only jobs with a smaller id.
    """
    accounts = [
        row[0] for row in await tx.execute_fetchall("SELECT id FROM accounts WHERE person_id = ?", (person_id,))
    ]
    low, high = await _between(tx, person_id, query)
    if not accounts or low is None:
        return ()
    rows = await tx.execute_fetchall(
        "SELECT rowid FROM found WHERE found MATCH ? AND rowid >= ? AND rowid < ? ORDER BY rowid DESC LIMIT ?",
        (_match(accounts, query), low, min(high, before or _NEWEST), limit),
    )
    return tuple(row[0] for row in rows)


async def behind(tx: aiosqlite.Connection) -> bool:
    """Whether ``index_some`` or ``merge_some`` has anything to do."""
    return bool(list(await tx.execute_fetchall('SELECT 1 FROM indexing WHERE "left" > 0 OR stale > 0')))


async def index_some(tx: aiosqlite.Connection) -> bool:
    """Index some of the jobs that were drawn before there was an index, newest first. Returns whether any are left."""
    left = next(iter(await tx.execute_fetchall('SELECT "left" FROM indexing')))[0]
    if not left:
        return False
    some = await jobs.pictured(tx, up_to=left, limit=BATCH)
    if some:
        # FTS5 collects rows in memory as long as their numbers rise: downwards, each would be a piece by itself.
        await put_all(tx, some[::-1])
    left = some[-1].id - 1 if len(some) == BATCH else 0
    await tx.execute_fetchall('UPDATE indexing SET "left" = ?', (left,))
    return left > 0


async def merge_some(tx: aiosqlite.Connection) -> bool:
    """Take some of what was removed out of the index's pages too. Returns whether there may be more."""
    stale = next(iter(await tx.execute_fetchall("SELECT stale FROM indexing")))[0]
    if not stale:
        return False
    before = tx.total_changes
    # A negative number has all segments of the index merged into one, which those after it go on with.
    await tx.execute_fetchall(
        "INSERT INTO found (found, rank) VALUES ('merge', ?)", (-_PAGES if stale == 1 else _PAGES,)
    )
    more = stale == 1 or tx.total_changes - before >= 2
    await tx.execute_fetchall("UPDATE indexing SET stale = ?", (2 if more else 0,))
    return more


async def _between(tx: aiosqlite.Connection, person_id: int, query: Query) -> tuple[int | None, int]:
    """Return the ids that a job of theirs may have: from, which is None where there is none, and up to."""
    low, high = 0, _NEWEST
    if query.since is not None:
        first = await jobs.first_since(tx, person_id, query.since)
        if first is None:
            return None, 0
        low = first
    if query.until is not None:
        high = await jobs.first_since(tx, person_id, query.until) or high
    return low, high


def _match(accounts: Sequence[int], query: Query) -> str:
    """Return the query in FTS5's language; what was typed is in it as words of letters and digits alone, in quotes."""
    terms = [*query.words, *_marks(query)] or [_ANY]
    return " AND ".join("(" + " OR ".join(f'"{account}_{term}"' for account in accounts) + ")" for term in terms)


_ANY = "_"
_FAVOURITE = "_favourite_"


def _marks(query: Query) -> Iterable[str]:
    if query.model is not None:
        yield _model(query.model)
    if query.seed is not None:
        yield _seed(query.seed)
    if query.size is not None:
        yield _size(*query.size)
    if query.favourite:
        yield _FAVOURITE


# No word has an underscore, and what ends in one is not stemmed.
def _model(name: str) -> str:
    return f"_model_{'_'.join(segmentation.sought(name))}_"


def _seed(seed: int) -> str:
    return f"_seed_{seed}_"


def _size(width: int, height: int) -> str:
    return f"_size_{width}x{height}_"


def _words(job: Job, *, favourite: bool) -> str:
    request = job.request
    # Most prompts are what was typed: nothing is cut twice.
    text = "\n".join(dict.fromkeys((request.typed, request.prompt, request.negative, request.style, request.model)))
    seeds = dict.fromkeys(recipes.seed_of(request, index) for index in range(request.count))
    terms = [
        _ANY,
        *segmentation.words(text),
        _model(request.model),
        _size(request.width, request.height),
        *(_seed(seed) for seed in seeds),
        *((_FAVOURITE,) if favourite else ()),
    ]
    return " ".join(f"{job.account_id}_{term}" for term in terms)
