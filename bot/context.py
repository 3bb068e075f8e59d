"""What every use case works with."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bot.core.access import AccessMode, Owners
from bot.core.ports import Backlog, Clock
from bot.core.quotas import Limit, RuleTerms
from bot.drawing.styles import BUILT_IN, Style
from bot.history.download_limits import DownloadLimits
from bot.moderation.word_list import WordList, shipped
from bot.storage.database import Transactions
from engine.contract import Profile


@dataclass(frozen=True, slots=True)
class AppContext:
    """The outside of the use cases, handed in once by Studio.

    Attributes:
        db: Where the rows are.
        backlog: The queue.
        clock: Time.
        profiles: What can be asked for now; the first is the default.
        pictures: Folder of the pictures' files.
        quota: The owner's rule for everybody (``EASEL_QUOTA``).
        max_counts: Most pictures in one request, by platform; 4 where a platform says nothing.
        sheets: Folder for contact sheets, which are thrown away after a day; beside ``pictures`` unless it is given.
        owners: Who runs this Easel, live.
        access: Who may come in, by platform; everybody where a platform says nothing.
        link: Address of the page for others (``EASEL_WEB_PUBLIC_URL``); empty where it has none.
        words: Finds what is not drawn everywhere.
        styles: What ``--style`` may name, by name.
        rng: Draws seeds.
        fetches: How often each person may have original files sent.
        reading: Held while a given picture is read: large ones take much memory, so they come one by one.
    """

    db: Transactions
    backlog: Backlog
    clock: Clock
    profiles: Callable[[], tuple[Profile, ...]]
    pictures: Path
    quota: Limit | RuleTerms
    max_counts: Mapping[str, int] = field(default_factory=dict)
    sheets: Path | None = None
    owners: Owners = field(default_factory=Owners)
    access: Mapping[str, AccessMode] = field(default_factory=dict)
    link: str = ""
    words: WordList = field(default_factory=shipped)
    styles: Mapping[str, Style] = field(default_factory=lambda: BUILT_IN)
    rng: random.Random = field(default_factory=random.SystemRandom)
    fetches: DownloadLimits = field(default_factory=DownloadLimits)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def max_count(self, platform: str) -> int:
        """Most pictures in one request on this platform."""
        return self.max_counts.get(platform, 4)
