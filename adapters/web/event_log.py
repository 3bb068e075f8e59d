"""The log of a person's feed: the last event of each job that has changed, from which a stream that was cut off resumes."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field

MOST_JOBS = 512
"""Jobs whose last change is remembered for each person; a reader who has missed more fetches the feed again."""

_ID = re.compile(r"([0-9a-f]{12})-(\d{1,18})", re.ASCII)


@dataclass(slots=True)
class Entry:
    """The last change of a job.

    Attributes:
        number: Counts up with each change.
        data: The event as it is sent; None where nobody reads it yet.
    """

    number: int
    data: bytes | None


@dataclass(slots=True)
class EventLog:
    """The last change of each job of one person, the latest last. Earlier changes of the same job are dropped.

    Attributes:
        start: Number of the last change before the log began.
        token: Distinguishes this log from those of other people and of other starts of the service.
    """

    start: int
    token: str = field(default_factory=lambda: secrets.token_hex(6))
    _entries: dict[int, Entry] = field(default_factory=dict)
    _floor: int = 0

    def event_id(self, number: int) -> str:
        """Return the id of the event of a change, which browsers send back when they reconnect."""
        return f"{self.token}-{number}"

    def put(self, job_id: int, number: int, data: bytes | None) -> None:
        """Record a change; its number is above all earlier ones."""
        self._entries.pop(job_id, None)
        self._entries[job_id] = Entry(number, data)
        if len(self._entries) > MOST_JOBS:
            oldest = next(iter(self._entries))
            self._floor = self._entries.pop(oldest).number

    def drop(self, number: int) -> None:
        """Forget all changes up to this number: every reader has to fetch the feed again."""
        self._entries.clear()
        self._floor = number

    def take_unread(self) -> tuple[int, ...]:
        """Return the jobs whose change was recorded without its event, and drop these entries: they are to be put again."""
        unread = tuple(job_id for job_id, entry in self._entries.items() if entry.data is None)
        for job_id in unread:
            del self._entries[job_id]
        return unread

    def position(self, event_id: str, latest: int) -> int | None:
        """Return the number from which a reader of this event resumes; None where it has to fetch the feed again.

        Args:
            event_id: The id of the last event that it has read.
            latest: The number of the last change of all.
        """
        match = _ID.fullmatch(event_id)
        if match is None or match[1] != self.token:
            return None
        number = int(match[2])
        return None if number > latest or self.has_dropped(number) else number

    def has_dropped(self, position: int) -> bool:
        """Whether a reader at this position has missed a change that is not remembered any more."""
        return position < max(self.start, self._floor)

    def after(self, position: int) -> list[Entry]:
        """Return the entries with higher numbers than ``position``, in order."""
        found = []
        for entry in reversed(self._entries.values()):
            if entry.number <= position:
                break
            found.append(entry)
        return found[::-1]
