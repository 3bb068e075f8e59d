"""The oracle of the ledger's state machine: jobs, rules and credits by simple arithmetic and exhaustive search."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from tests.fakes.clock import FakeClock

DAY = 86400
DEFAULT = 6
GUILDS = ("red", "blue")
OPEN, WAITING = {"queued", "running"}, {"held", "queued", "running"}
NO_RULE, NO_BOUND = 10**6, 10**6


@dataclass
class Expected:
    """What the oracle knows of a job."""

    who: str
    guild: str
    count: int
    at: float
    state: str = "queued"
    attempts: int = 0
    kept: int = 0
    """Pictures that it was charged for in the end."""
    free: int = 0
    free_here: int = 0

    def costs(self) -> int:
        return self.count if self.state in OPEN else self.kept


@dataclass
class Extra:
    """What the oracle knows of a credit; an owner's has no guild."""

    number: int
    who: str
    guild: str | None
    pictures: int
    expires: float
    borrowed: bool
    revoked: bool = False
    spent: dict[int, int] = field(default_factory=dict)
    """Pictures of each job that it paid for, less those that it got back."""

    def left(self) -> int:
        return self.pictures - sum(self.spent.values())


@dataclass
class Changed:
    """An entry of the log, as far as it can be undone; ``before`` and ``after`` are a rule's number, None without one."""

    number: int
    what: str
    """A guild, "owner", or the event of a grant."""
    before: int | None
    after: int | None
    undone: bool = False


class Oracle:
    """Its own arithmetic: no window but the day, no rules but the owner's and each guild's."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.expected: dict[int, Expected] = {}
        self.extras: dict[str, Extra] = {}
        self.rules: dict[str, int | None] = {"owner": None, **dict.fromkeys(GUILDS)}
        self.at_once = NO_BOUND

    def default(self) -> int:
        number = self.rules["owner"]
        return DEFAULT if number is None else number

    def own(self, guild: str) -> int:
        number = self.rules[guild]
        return NO_RULE if number is None else number

    def spent(self, who: str, guild: str | None = None) -> int:
        """What counts against the owner's rule, or against a guild's own."""
        now, begin = self.clock.now(), self.clock.now() - DAY
        mine = [(i, e) for i, e in self.expected.items() if e.who == who and guild in {None, e.guild}]
        drawn = sum(e.costs() - e.free - (e.free_here if guild else 0) for _, e in mine if e.at > begin)
        due = [x for x in self.extras.values() if x.borrowed and begin < x.expires <= now and (guild or not x.guild)]
        return drawn + sum(x.spent.get(i, 0) for x in due for i, _ in mine)

    def purse(self, who: str, guild: str | None) -> list[Extra]:
        """The owner's credits that somebody can spend (no guild), or a guild's own; the first to expire first."""
        able = (x for x in self.extras.values() if (x.who, x.guild) == (who, guild) and not x.revoked)
        return sorted((x for x in able if x.expires > self.clock.now()), key=lambda x: (x.expires, x.number))

    def rooms(self, who: str, guild: str) -> tuple[int, int, int, int]:
        owner, own = self.default() - self.spent(who), self.own(guild) - self.spent(who, guild)
        extras = [sum(x.left() for x in self.purse(who, where)) for where in (None, guild)]
        return max(0, owner), max(0, own), extras[0], extras[1]

    def left(self, who: str, guild: str) -> int:
        owner, own, extra, extra_here = self.rooms(who, guild)
        return min(owner, own + extra_here) + extra

    def share(self, who: str, guild: str, count: int) -> tuple[int, int] | None:
        """The way to pay that spends least of what lifts every rule; every way is tried."""
        owner, own, extra, extra_here = self.rooms(who, guild)
        ways = itertools.product(range(min(extra, count) + 1), range(min(extra_here, count) + 1))
        able = [(f, h) for f, h in ways if f + h <= count and count - f <= owner and count - f - h <= own]
        return min(able, default=None)

    def waiting(self, who: str, but: int = 0) -> int:
        return sum(e.who == who and e.state in WAITING for i, e in self.expected.items() if i != but)

    def pay(self, job_id: int, job: Expected, share: tuple[int, int]) -> None:
        job.free, job.free_here = share
        for number, where in zip(share, (None, job.guild), strict=True):
            due = number
            for extra in self.purse(job.who, where):
                part = min(due, extra.left())
                due -= part
                if part:
                    extra.spent[job_id] = part
            assert due == 0

    def end(self, job_id: int, state: str, kept: int = 0) -> None:
        """A job ends: what was not painted gives credits back first, those that last longest before the others."""
        job = self.expected[job_id]
        missing = job.count - kept if job.state in OPEN else 0
        job.state, job.kept = state, kept
        for where in (None, job.guild):
            paid = [x for x in self.extras.values() if x.guild == where and job_id in x.spent]
            for extra in sorted(paid, key=lambda x: (x.expires, x.number), reverse=True):
                part = min(missing, extra.spent[job_id])
                extra.spent[job_id] -= part
                missing -= part
                if where is None:
                    job.free -= part
                else:
                    job.free_here -= part
