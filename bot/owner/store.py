"""SQL of the owner's view: jobs of the queue, people with what they use, places, and reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from bot.core.jobs import JobState
from bot.storage.database import Tx
from bot.storage.sql import RowMapper

DAY = 86400.0
MONTH = 30 * DAY

MOST_FOUND = 50
"""Most people that one search returns."""


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job that waits or is drawn, as an owner sees it.

    Attributes:
        id: The job.
        state: HELD, QUEUED or RUNNING.
        asker: The name of the person when they asked; data.
        platform: The platform of their account.
        user_id: Their id there.
        person_id: The person.
        place: Name of the server or group; empty outside of one.
        prompt: As typed; empty for a private request, which nobody else sees.
        private: Whether it is a private request.
        count: Pictures.
        width: Pixels.
        height: Pixels.
        steps: Denoising steps.
        model: Name of the model.
        created_at: Unix seconds.
        started_at: Unix seconds; None while it waits.
        moved: ``front`` or ``back`` where an owner moved it; empty otherwise.
    """

    id: int
    state: JobState
    asker: str
    platform: str
    user_id: str
    person_id: int
    place: str
    prompt: str
    private: bool
    count: int
    width: int
    height: int
    steps: int
    model: str
    created_at: float
    started_at: float | None
    moved: str


_QUEUED = RowMapper(
    QueuedJob,
    columns={
        "id": "jobs.id",
        "state": "jobs.state",
        "asker": "jobs.asker",
        "platform": "a.platform",
        "user_id": "a.user_id",
        "person_id": "jobs.person_id",
        "place": "coalesce(nullif(p.name, ''), p.guild, '')",
        "prompt": "CASE WHEN jobs.private THEN '' ELSE jobs.typed END",
        "private": "jobs.private",
        "count": "jobs.count",
        "width": "jobs.width",
        "height": "jobs.height",
        "steps": "jobs.steps",
        "model": "jobs.model",
        "created_at": "jobs.created_at",
        "started_at": "jobs.started_at",
        "moved": "CASE WHEN m.number IS NULL THEN '' WHEN m.last_id IS NULL THEN 'front' ELSE 'back' END",
    },
)
_JOINED = (
    " FROM jobs JOIN accounts a ON a.id = jobs.account_id LEFT JOIN places p ON p.id = jobs.place_id"
    " LEFT JOIN queue_moves m ON m.job_id = jobs.id"
)
# The condition of the partial index jobs_open, word for word, so that SQLite uses it.
_OPEN = "jobs.state IN ('held', 'queued', 'running', 'painted')"


async def jobs_in(tx: Tx, state: JobState, *, limit: int) -> tuple[QueuedJob, ...]:
    """Return jobs in one of the states HELD, QUEUED and RUNNING, oldest first."""
    return await _QUEUED.fetch(
        tx,
        f"SELECT {_QUEUED.columns}{_JOINED} WHERE jobs.state = ? AND {_OPEN} ORDER BY jobs.id LIMIT ?",
        (state.value, limit),
    )


async def jobs_of(tx: Tx, job_ids: Sequence[int]) -> tuple[QueuedJob, ...]:
    """Return these jobs in this order; those that are gone are left out."""
    marks = ", ".join("?" * len(job_ids))
    found = await _QUEUED.fetch(
        tx,
        f"SELECT {_QUEUED.columns}{_JOINED} WHERE jobs.id IN ({marks})",
        tuple(job_ids),
    )
    by_id = {job.id: job for job in found}
    return tuple(by_id[job_id] for job_id in job_ids if job_id in by_id)


async def count_in(tx: Tx, state: JobState) -> int:
    """Return how many jobs are in one of the states HELD, QUEUED, RUNNING and PAINTED."""
    rows = await tx.execute_fetchall(f"SELECT count(*) FROM jobs WHERE state = ? AND {_OPEN}", (state.value,))  # noqa: S608
    return int(next(iter(rows))[0])


@dataclass(frozen=True, slots=True)
class FoundPerson:
    """A person in a search.

    Attributes:
        id: The person.
        name: The name of the account that was found; data.
        platform: Its platform.
        user_id: Its id there.
        handle: Its unique name, without ``@``; empty if it has none.
        since: When it was first seen, in Unix seconds.
        last_at: When the person last asked for a picture, in Unix seconds; None for never.
        day: Pictures of the last 24 hours, drawn or still to be drawn.
        month: Pictures of the last 30 days.
        banned: Whether a ban holds everywhere.
    """

    id: int
    name: str
    platform: str
    user_id: str
    handle: str
    since: float
    last_at: float | None
    day: int
    month: int
    banned: bool


_USED = (
    "(SELECT coalesce(sum(reserved + charged), 0) FROM ledger WHERE ledger.person_id = accounts.person_id"
    " AND counted_at > {since})"
)
_FOUND = RowMapper(
    FoundPerson,
    columns={
        "id": "accounts.person_id",
        "name": "accounts.name",
        "platform": "accounts.platform",
        "user_id": "accounts.user_id",
        "handle": "accounts.handle",
        "since": "accounts.created_at",
        # By the index jobs_by_person: ids grow with time.
        "last_at": (
            "(SELECT created_at FROM jobs WHERE jobs.person_id = accounts.person_id ORDER BY jobs.id DESC LIMIT 1)"
        ),
        "day": _USED.format(since="?1"),
        "month": _USED.format(since="?2"),
        "banned": (
            "EXISTS (SELECT 1 FROM accounts other JOIN bans ON bans.platform = other.platform"
            " AND bans.user_id = other.user_id WHERE other.person_id = accounts.person_id AND bans.place_id = 0"
            " AND (bans.until IS NULL OR bans.until > ?3))"
        ),
    },
)


async def find_people(tx: Tx, text: str, *, now: float, banned: bool = False) -> tuple[FoundPerson, ...]:
    """Return accounts whose name, handle or id holds the text, those that were seen first last; at most MOST_FOUND.

    Args:
        tx: A transaction.
        text: Part of a name or handle, or an id; empty for all.
        now: Unix seconds.
        banned: Only people with a ban that holds.
    """
    text = text.removeprefix("@")
    like = f"%{text.replace('!', '!!').replace('%', '!%').replace('_', '!_')}%"
    where = "accounts.name LIKE ?4 ESCAPE '!' OR accounts.handle LIKE ?4 ESCAPE '!' OR accounts.user_id = ?5"
    if banned:
        where = (
            f"({where}) AND EXISTS (SELECT 1 FROM bans WHERE bans.platform = accounts.platform"  # noqa: S608 - constants
            " AND bans.user_id = accounts.user_id AND (bans.until IS NULL OR bans.until > ?3))"
        )
    return await _FOUND.fetch(
        tx,
        # The newest accounts: searching all of them for those that drew last would read every person's jobs.
        f"SELECT {_FOUND.columns} FROM accounts WHERE {where} ORDER BY accounts.id DESC LIMIT {MOST_FOUND}",  # noqa: S608
        (now - DAY, now - MONTH, now, like, text),
    )


async def accounts_of(tx: Tx, person_id: int, *, now: float) -> tuple[FoundPerson, ...]:
    """Return the accounts of one person, the first one first."""
    return await _FOUND.fetch(
        tx,
        f"SELECT {_FOUND.columns} FROM accounts WHERE accounts.person_id = ?4 ORDER BY accounts.id",  # noqa: S608
        (now - DAY, now - MONTH, now, person_id),
    )


@dataclass(frozen=True, slots=True)
class PersonBan:
    """A ban of one of a person's accounts that holds.

    Attributes:
        platform: The account's platform.
        user_id: Its id there.
        guild: Id of the server or group; None: everywhere.
        place: Its name; empty: everywhere.
        until: Unix seconds; None is for good.
        reason: In the admin's words; data.
        set_by: ``platform:user id``.
        set_at: Unix seconds.
    """

    platform: str
    user_id: str
    guild: str | None
    place: str
    until: float | None
    reason: str
    set_by: str
    set_at: float


_PERSON_BANS = RowMapper(
    PersonBan,
    columns={
        "platform": "b.platform",
        "user_id": "b.user_id",
        "guild": "p.guild",
        "place": "coalesce(nullif(p.name, ''), p.guild, '')",
        "until": "b.until",
        "reason": "b.reason",
        "set_by": "b.set_by",
        "set_at": "b.set_at",
    },
)


async def bans_of(tx: Tx, person_id: int, *, now: float) -> tuple[PersonBan, ...]:
    """Return the bans of a person's accounts that hold, newest first."""
    return await _PERSON_BANS.fetch(
        tx,
        f"SELECT {_PERSON_BANS.columns} FROM accounts a JOIN bans b ON b.platform = a.platform AND b.user_id = a.user_id"  # noqa: S608
        " LEFT JOIN places p ON p.id = b.place_id"
        " WHERE a.person_id = ? AND (b.until IS NULL OR b.until > ?) ORDER BY b.set_at DESC",
        (person_id, now),
    )


@dataclass(frozen=True, slots=True)
class PersonTotals:
    """What a person has here: requests, stored pictures and their bytes, favourites, open sessions, and API keys in use."""

    jobs: int
    pictures: int
    bytes: int
    favourites: int
    sessions: int
    keys: int


_TOTALS = RowMapper(PersonTotals)


async def totals_of(tx: Tx, person_id: int) -> PersonTotals:
    """Return what a person has here."""
    found = await _TOTALS.fetch(
        tx,
        "SELECT (SELECT count(*) FROM jobs WHERE person_id = ?1) AS jobs, count(*) AS pictures,"
        " coalesce(sum(pictures.bytes), 0) AS bytes,"
        " (SELECT count(*) FROM favourites WHERE person_id = ?1) AS favourites,"
        " (SELECT count(*) FROM sessions JOIN accounts ON accounts.id = sessions.account_id"
        " WHERE accounts.person_id = ?1) AS sessions,"
        " (SELECT count(*) FROM api_keys JOIN accounts ON accounts.id = api_keys.account_id"
        " WHERE accounts.person_id = ?1 AND api_keys.revoked_at IS NULL) AS keys"
        " FROM jobs JOIN pictures ON pictures.job_id = jobs.id WHERE jobs.person_id = ?1",
        (person_id,),
    )
    return found[0]


@dataclass(frozen=True, slots=True)
class KnownPlace:
    """A server or group.

    Attributes:
        id: Its row.
        platform: Its platform.
        guild: Its id there.
        name: Its name; data, empty if it is not known.
    """

    id: int
    platform: str
    guild: str
    name: str


_KNOWN_PLACES = RowMapper(KnownPlace, "places")


async def places(tx: Tx, *, limit: int = 200) -> tuple[KnownPlace, ...]:
    """Return the servers and groups by name."""
    return await _KNOWN_PLACES.select(tx, "ORDER BY name COLLATE NOCASE, id LIMIT ?", (limit,))


@dataclass(frozen=True, slots=True)
class Activity:
    """What happened in a quarter of an hour.

    Attributes:
        at: Its start, in Unix seconds.
        pictures: Pictures that were drawn.
        failed: Jobs that failed.
        cancelled: Jobs that were cancelled.
        within: Predicted waits that ended within their range.
        early: Those that ended before it.
        late: Those that ended after it.
        waiting: The most jobs that waited.
        busy: Seconds that the device drew.
    """

    at: int
    pictures: int = 0
    failed: int = 0
    cancelled: int = 0
    within: int = 0
    early: int = 0
    late: int = 0
    waiting: int = 0
    busy: float = 0.0


_ACTIVITY = RowMapper(Activity, "activity")
_ADDED = tuple(one.name for one in fields(Activity) if one.name not in {"at", "waiting"})


async def add_activity(tx: Tx, activity: Activity, *, kept_since: int) -> None:
    """Add to a row, and remove rows that begin before ``kept_since``."""
    sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in _ADDED)
    await _ACTIVITY.insert(
        tx, activity, f"ON CONFLICT (at) DO UPDATE SET {sums}, waiting = max(waiting, excluded.waiting)"
    )
    await tx.execute_fetchall("DELETE FROM activity WHERE at < ?", (kept_since,))


async def activity_since(tx: Tx, at: int) -> tuple[Activity, ...]:
    """Return the rows that begin at a time or later, oldest first."""
    return await _ACTIVITY.select(tx, "WHERE at >= ? ORDER BY at", (at,))


@dataclass(frozen=True, slots=True)
class ModelSpeed:
    """How fast a model drew lately.

    Attributes:
        model: Its name.
        pictures: How many pictures this is of.
        seconds: Mean device seconds of a picture.
        megapixels: Mean megapixels of a picture.
        steps: Mean steps of a picture.
    """

    model: str
    pictures: int
    seconds: float
    megapixels: float
    steps: float


_SPEEDS = RowMapper(ModelSpeed)
_LATELY = 1000


async def speeds(tx: Tx) -> tuple[ModelSpeed, ...]:
    """Return how fast each model drew the last 1000 pictures, the one with most first."""
    return await _SPEEDS.fetch(
        tx,
        "SELECT jobs.model AS model, count(*) AS pictures, avg(p.seconds) AS seconds,"
        " avg(p.width * p.height) / 1e6 AS megapixels, avg(jobs.steps) AS steps"
        " FROM (SELECT * FROM pictures WHERE id > (SELECT coalesce(max(id), 0) FROM pictures) - ?) p"
        " JOIN jobs ON jobs.id = p.job_id GROUP BY jobs.model ORDER BY pictures DESC",
        (_LATELY,),
    )


@dataclass(frozen=True, slots=True)
class StoredPictures:
    """The stored pictures: how many, their bytes, and when the oldest was drawn (Unix seconds; None without any)."""

    count: int
    bytes: int
    oldest: float | None


_STORED = RowMapper(StoredPictures)


async def stored_pictures(tx: Tx) -> StoredPictures:
    """Return the sum of all stored pictures. It reads every row."""
    found = await _STORED.fetch(
        tx,
        "SELECT count(*) AS count, coalesce(sum(bytes), 0) AS bytes, min(created_at) AS oldest FROM pictures",
    )
    return found[0]


@dataclass(frozen=True, slots=True)
class PlaceRetention:
    """For how long pictures of a place are kept; ``name`` is empty for the whole service."""

    platform: str
    guild: str
    name: str
    days: float


_RETENTION = RowMapper(PlaceRetention)


async def retention(tx: Tx, option: str) -> tuple[PlaceRetention, ...]:
    """Return the retention that places, and the whole service, have set under this option."""
    return await _RETENTION.fetch(
        tx,
        "SELECT coalesce(p.platform, '') AS platform, coalesce(p.guild, '') AS guild,"
        " coalesce(nullif(p.name, ''), p.guild, '') AS name, CAST(o.value AS REAL) AS days"
        " FROM options o LEFT JOIN places p ON p.id = o.place_id WHERE o.name = ? ORDER BY o.place_id",
        (option,),
    )
