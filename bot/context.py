"""The contexts of use cases: the service's, with its rate limit of downloads, and the one of a single request."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bot.cards.job_buttons import JobButton
from bot.core.access import AccessMode, Owners
from bot.core.people import Actor, Person, Place
from bot.core.ports import Backlog, Clock, Surface
from bot.core.preferences import Preferences
from bot.core.quotas import Limit, RuleTerms
from bot.drawing.styles import BUILT_IN, Style
from bot.moderation.word_list import WordList, shipped_words
from bot.provenance.inspector import Inspector
from bot.storage import people
from bot.storage.database import Transactions, Tx
from bot.storage.people import Options
from engine.contract import LoraInfo, Profile

DOWNLOAD_BURST = 6
"""Presses for original files that may come in a burst."""

DOWNLOAD_REFILL_SECONDS = 20.0
"""Seconds until another press is allowed."""

DOWNLOAD_REPEAT_SECONDS = 2.0
"""Presses for the same files within this many seconds count as one."""

_MAX_BUCKETS = 1024
"""Above this number of people, those with a full bucket are dropped."""


@dataclass(slots=True)
class _Bucket:
    free_at: float = 0.0
    """When the bucket is full again, by the monotonic clock."""
    last: dict[Hashable, float] = field(default_factory=dict)


class DownloadLimits:
    """A token bucket per person; times are seconds of a monotonic clock. It is in memory only: a restart resets it."""

    def __init__(self) -> None:
        self._people: dict[Hashable, _Bucket] = {}

    def is_repeated(self, person: Hashable, what: Hashable, now: float) -> bool:
        """Whether the person got the same files a moment ago."""
        bucket = self._people.get(person)
        return (
            bucket is not None and now - bucket.last.get(what, now - DOWNLOAD_REPEAT_SECONDS) < DOWNLOAD_REPEAT_SECONDS
        )

    def take(self, person: Hashable, what: Hashable, now: float) -> float:
        """Take a token; return 0, or the seconds to wait if there is none."""
        if len(self._people) > _MAX_BUCKETS:
            self._people = {key: one for key, one in self._people.items() if one.free_at > now}
        bucket = self._people.setdefault(person, _Bucket())
        wait = bucket.free_at - now - (DOWNLOAD_BURST - 1) * DOWNLOAD_REFILL_SECONDS
        if wait > 0:
            return wait
        bucket.free_at = max(bucket.free_at, now) + DOWNLOAD_REFILL_SECONDS
        bucket.last = {key: at for key, at in bucket.last.items() if now - at < DOWNLOAD_REPEAT_SECONDS} | {what: now}
        return 0.0


MAX_COUNT = 4
"""Most pictures in one request on a platform without a setting of its own."""


@dataclass(frozen=True, slots=True)
class AppContext:
    """The services and settings that use cases need. Studio creates it once.

    Attributes:
        db: The database.
        backlog: The queue.
        clock: The current time.
        profiles: Returns the models that are served now; the first is the default.
        pictures: Folder of the picture files.
        default_quota: The owner's rule for everybody (``EASEL_QUOTA``).
        max_counts: Most pictures in one request, by platform; ``MAX_COUNT`` for any other.
        sheets: Folder for contact sheets, which are deleted after a day; None: next to ``pictures``.
        owners: The live list of owners.
        access_modes: Who may draw, by platform; everybody on any other.
        public_url: Address of the web page for others (``EASEL_WEB_PUBLIC_URL``); empty if it has none.
        edit_model: Name of the model that serves edits when the default one can't; empty for none.
        can_describe: Whether the engine describes pictures.
        word_list: Finds forbidden words.
        styles: The styles that ``--style`` may name, by name.
        loras: Returns the LoRAs that ``--lora`` may name.
        job_buttons: What buttons the cards of jobs can have, by action.
        rng: Draws seeds.
        preferences: What people and places have set for their requests.
        download_limits: Limits how often each person downloads original files.
        inspector: Reads what files say of themselves.
        inspection_limits: Limits how often each person has files of chats inspected.
        surfaces: The platforms that are on, by name; they come and go.
        keeps_manifests: Whether the signed manifests of uploaded pictures are kept: pictures are signed here.
        image_lock: Held while a source image is decoded. Large ones need much memory, so one is decoded at a time.
    """

    db: Transactions
    backlog: Backlog
    clock: Clock
    profiles: Callable[[], tuple[Profile, ...]]
    pictures: Path
    default_quota: Limit | RuleTerms
    max_counts: Mapping[str, int] = field(default_factory=dict)
    sheets: Path | None = None
    owners: Owners = field(default_factory=Owners)
    access_modes: Mapping[str, AccessMode] = field(default_factory=dict)
    public_url: str = ""
    edit_model: str = ""
    can_describe: bool = False
    word_list: WordList = field(default_factory=shipped_words)
    styles: Mapping[str, Style] = field(default_factory=lambda: BUILT_IN)
    loras: Callable[[], tuple[LoraInfo, ...]] = tuple
    job_buttons: Mapping[str, JobButton] = field(default_factory=dict)
    rng: random.Random = field(default_factory=random.SystemRandom)
    preferences: Preferences = field(default_factory=Preferences)
    download_limits: DownloadLimits = field(default_factory=DownloadLimits)
    inspector: Inspector = field(default_factory=Inspector)
    inspection_limits: DownloadLimits = field(default_factory=DownloadLimits)
    surfaces: Mapping[str, Surface] = field(default_factory=dict)
    keeps_manifests: bool = False
    image_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def profile(self, name: str) -> Profile | None:
        """Return the model of a name; None when it is not there any more."""
        return next((profile for profile in self.profiles() if profile.name == name), None)

    def max_count(self, platform: str) -> int:
        """Return the most pictures in one request on this platform."""
        return self.max_counts.get(platform, MAX_COUNT)


@dataclass(frozen=True, slots=True)
class AdmissionContext:
    """Who requests something, and where. Every check between the request and the queue reads it.

    Attributes:
        actor: The account that acts.
        place: Where.
        person: The person whose account it is.
        place_id: Row of the server or group; None in direct messages and on the page.
        now: Unix seconds.
        options: Options of the place and of the whole service.
    """

    actor: Actor
    place: Place
    person: Person
    place_id: int | None
    now: float
    options: Options


async def load_admission_context(
    tx: Tx, actor: Actor, place: Place, person: Person, *, place_id: int | None, now: float
) -> AdmissionContext:
    """Return the context of a request, with the options read from the database."""
    return AdmissionContext(actor, place, person, place_id, now, await people.read_options(tx, place_id))
