"""SQL of the history: the search index, saved searches and favourites."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bot.core import requests
from bot.core.jobs import Job
from bot.core.pictures import Picture
from bot.history import queries
from bot.history.queries import Query
from bot.storage import jobs
from bot.storage.database import Tx

BATCH = 100
"""Old jobs that are indexed in one transaction, which admission may have to wait for."""

_PAGES = 64
"""Pages of the index that are merged in one transaction."""

_ANY = "_"
"""Term of every job."""

_FAVOURITE = "_favourite_"
"""Term of each job with a favourite of its author."""

MAX_SEARCH_NUMBER = 999
"""Numbers wrap after this: buttons have space for three digits."""

MAX_SEARCHES = 50
"""Number of an account's last searches that are stored."""

_NEWEST = 2**62
"""An id above those of all jobs."""

_LATEST = 1e18
"""A time after all jobs, in Unix seconds."""


async def add_job(tx: Tx, job: Job) -> None:
    """Index a job that gets its pictures now: it has no favourites yet."""
    # REPLACE: earlier versions stored the pictures of a job one by one, and such a job may be indexed already.
    await tx.execute_fetchall(
        "INSERT OR REPLACE INTO found (rowid, words) VALUES (?, ?)", (job.id, _words(job, favourite=False))
    )


async def index_job(tx: Tx, job: Job) -> None:
    """Index a job with pictures; replace its present entry."""
    await index_jobs(tx, (job,))


async def index_jobs(tx: Tx, some: Sequence[Job]) -> None:
    """Index jobs with pictures; replace their present entries."""
    marks = ", ".join("?" * len(some))
    ids = [job.id for job in some]
    await tx.execute_fetchall(f"DELETE FROM found WHERE rowid IN ({marks})", ids)  # noqa: S608 - question marks
    favourites = await own_favourites(tx, ids)
    # A generator: it runs in the database's thread, not on the event loop.
    await tx.executemany(
        "INSERT INTO found (rowid, words) VALUES (?, ?)",
        ((job.id, _words(job, favourite=job.id in favourites)) for job in some),
    )


async def find_jobs(
    tx: Tx, person_id: int, query: Query, *, limit: int, before: int | None = None, kind: str = ""
) -> tuple[int, ...]:
    """Return the ids of a person's own jobs with pictures that match a query, newest first.

    Args:
        tx: A transaction.
        person_id: The person.
        query: The query.
        limit: Number of jobs at most.
        before: Only jobs with a smaller id.
        kind: Only jobs of this kind; empty for all.
    """
    accounts = [
        row[0] for row in await tx.execute_fetchall("SELECT id FROM accounts WHERE person_id = ?", (person_id,))
    ]
    low, high = await _between(tx, person_id, query)
    if not accounts or low is None:
        return ()
    rows = await tx.execute_fetchall(
        "SELECT rowid FROM found WHERE found MATCH ? AND rowid >= ? AND rowid < ?"
        " AND EXISTS (SELECT 1 FROM jobs WHERE id = found.rowid AND deletion_id IS NULL AND (? = '' OR kind = ?))"
        " ORDER BY rowid DESC LIMIT ?",
        (_match(accounts, query), low, min(high, before or _NEWEST), kind, kind, limit),
    )
    return tuple(row[0] for row in rows)


async def has_unindexed(tx: Tx) -> bool:
    """Whether ``index_batch`` or ``merge_batch`` has work to do."""
    return bool(list(await tx.execute_fetchall('SELECT 1 FROM indexing WHERE "left" > 0 OR stale > 0')))


async def index_batch(tx: Tx) -> bool:
    """Index some of the jobs from before there was an index, newest first. Returns whether any are left."""
    left = next(iter(await tx.execute_fetchall('SELECT "left" FROM indexing')))[0]
    if not left:
        return False
    some = await jobs.with_pictures(tx, up_to=left, limit=BATCH)
    if some:
        # FTS5 collects rows with rising ids in memory; with falling ids, each would make a segment of its own.
        await index_jobs(tx, some[::-1])
    left = some[-1].id - 1 if len(some) == BATCH else 0
    await tx.execute_fetchall('UPDATE indexing SET "left" = ?', (left,))
    return left > 0


async def merge_batch(tx: Tx) -> bool:
    """Remove some deleted entries from the pages of the index. Returns whether there may be more."""
    stale = next(iter(await tx.execute_fetchall("SELECT stale FROM indexing")))[0]
    if not stale:
        return False
    before = tx.total_changes
    # A negative number starts a merge of all segments into one; later calls continue it.
    await tx.execute_fetchall(
        "INSERT INTO found (found, rank) VALUES ('merge', ?)", (-_PAGES if stale == 1 else _PAGES,)
    )
    more = stale == 1 or tx.total_changes - before >= 2
    await tx.execute_fetchall("UPDATE indexing SET stale = ?", (2 if more else 0,))
    return more


async def _between(tx: Tx, person_id: int, query: Query) -> tuple[int | None, int]:
    """Return the range of job ids in a query's time span: the first, or None if there is none, and the end."""
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
    """Return the query in FTS5's syntax. Typed terms are quoted and contain only letters, digits and symbols."""
    terms = [*query.words, *_marks(query)] or [_ANY]
    return " AND ".join("(" + " OR ".join(f'"{account}_{term}"' for account in accounts) + ")" for term in terms)


def _marks(query: Query) -> Iterable[str]:
    if query.model is not None:
        yield _model(query.model)
    if query.seed is not None:
        yield _seed(query.seed)
    if query.size is not None:
        yield _size(*query.size)
    if query.favourite:
        yield _FAVOURITE


# No word contains an underscore, and the stemmer ignores terms that end in one.
def _model(name: str) -> str:
    return f"_model_{'_'.join(queries.search_terms(name))}_"


def _seed(seed: int) -> str:
    return f"_seed_{seed}_"


def _size(width: int, height: int) -> str:
    return f"_size_{width}x{height}_"


def _words(job: Job, *, favourite: bool) -> str:
    request = job.request
    # Most prompts equal the typed text: segment it once.
    text = "\n".join(dict.fromkeys((request.typed, request.prompt, request.negative, request.style, request.model)))
    seeds = dict.fromkeys(requests.seed_of(request, index) for index in range(request.count))
    terms = [
        _ANY,
        *queries.index_terms(text),
        _model(request.model),
        _size(request.width, request.height),
        *(_seed(seed) for seed in seeds),
        *((_FAVOURITE,) if favourite else ()),
    ]
    return " ".join(f"{job.account_id}_{term}" for term in terms)


async def add_search(tx: Tx, account_id: int, query: str, *, now: float) -> int:
    """Store a typed search; return its number, 1 to 999. A repeated search keeps its number.

    Args:
        tx: A writing transaction.
        account_id: The account.
        query: The typed text.
        now: Unix seconds.
    """
    rows = list(
        await tx.execute_fetchall(
            "SELECT number, query FROM searches WHERE account_id = ? ORDER BY at DESC, number DESC", (account_id,)
        )
    )
    number = next((row[0] for row in rows if row[1] == query), None)
    if number is None:
        number = _next_number({row[0] for row in rows})
    await tx.execute_fetchall(
        "INSERT INTO searches (account_id, number, query, at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (account_id, number) DO UPDATE SET query = excluded.query, at = excluded.at",
        (account_id, number, query, now),
    )
    for row in rows[MAX_SEARCHES - 1 :]:
        if row[0] != number:
            await tx.execute_fetchall("DELETE FROM searches WHERE account_id = ? AND number = ?", (account_id, row[0]))
    return int(number)


async def get_search(tx: Tx, account_id: int, number: int) -> str | None:
    """Return an account's search of this number; None if it is not stored any more."""
    rows = await tx.execute_fetchall(
        "SELECT query FROM searches WHERE account_id = ? AND number = ?", (account_id, number)
    )
    return next((str(row[0]) for row in rows), None)


def _next_number(used: set[int]) -> int:
    last = max(used, default=0)
    return last + 1 if last < MAX_SEARCH_NUMBER else min(set(range(1, MAX_SEARCH_NUMBER + 1)) - used)


async def add_favourite(tx: Tx, person_id: int, pictures: Sequence[Picture], *, now: float) -> None:
    """Add favourites; existing ones stay as they are."""
    for picture in pictures:
        await tx.execute_fetchall(
            "INSERT INTO favourites (person_id, job_id, picture_id, at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (person_id, picture.job_id, picture.id, now),
        )


async def remove_favourite(tx: Tx, person_id: int, pictures: Sequence[Picture]) -> None:
    """Remove favourites."""
    for picture in pictures:
        await tx.execute_fetchall(
            "DELETE FROM favourites WHERE person_id = ? AND job_id = ? AND picture_id = ?",
            (person_id, picture.job_id, picture.id),
        )


async def favourites_among(tx: Tx, person_id: int, job_ids: Sequence[int]) -> frozenset[int]:
    """Return the ids of a person's favourites among the pictures of these jobs."""
    marks = ", ".join("?" * len(job_ids))
    rows = await tx.execute_fetchall(
        f"SELECT picture_id FROM favourites WHERE person_id = ? AND job_id IN ({marks})",  # noqa: S608 - question marks
        (person_id, *job_ids),
    )
    return frozenset(row[0] for row in rows)


async def own_favourites(tx: Tx, job_ids: Sequence[int]) -> frozenset[int]:
    """Return which of these jobs have a picture that is a favourite of their author."""
    marks = ", ".join("?" * len(job_ids))
    rows = await tx.execute_fetchall(
        "SELECT j.id FROM jobs j JOIN favourites f ON f.person_id = j.person_id AND f.job_id = j.id"  # noqa: S608 - question marks
        f" WHERE j.id IN ({marks})",
        job_ids,
    )
    return frozenset(row[0] for row in rows)


async def own_starred(
    tx: Tx, person_id: int, *, limit: int, before: int | None = None, kind: str = ""
) -> tuple[int, ...]:
    """Return the ids of a person's own jobs with favourites of theirs, newest first; see ``find_jobs``."""
    rows = await tx.execute_fetchall(
        "SELECT DISTINCT f.job_id FROM favourites f CROSS JOIN jobs j ON j.id = f.job_id"
        " WHERE f.person_id = ?1 AND f.job_id < ?2 AND j.person_id = ?1 AND j.deletion_id IS NULL AND (?3 = '' OR j.kind = ?3)"
        " ORDER BY f.job_id DESC LIMIT ?4",
        (person_id, _NEWEST if before is None else before, kind, limit),
    )
    return tuple(int(row[0]) for row in rows)


async def favourites_page(
    tx: Tx, person_id: int, query: Query, *, limit: int, before: int | None = None
) -> tuple[int, ...]:
    """Return the ids of jobs with favourites of a person, newest first. Of ``query``, only its time span counts."""
    rows = await tx.execute_fetchall(
        "SELECT DISTINCT f.job_id FROM favourites f JOIN jobs j ON j.id = f.job_id"
        " WHERE f.person_id = ? AND f.job_id < ? AND j.deletion_id IS NULL AND j.created_at >= ? AND j.created_at < ?"
        " ORDER BY f.job_id DESC LIMIT ?",
        (
            person_id,
            _NEWEST if before is None else before,
            0.0 if query.since is None else query.since,
            _LATEST if query.until is None else query.until,
            limit,
        ),
    )
    return tuple(row[0] for row in rows)
