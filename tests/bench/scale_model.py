"""What one service has for many devices, in virtual time: an event loop, a writer, a disk and a gateway, and who waits where.

Pictures come at random moments, 0.9 for each device and second. Each is claimed (loop, writer), drawn, stored (disk),
completed (loop, writer) and shown (gateway, loop, writer). What each step takes was measured; the waits follow from it.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.bench.percentiles import percentile

GROUP = 32
"""Most transactions of one commit, as in ``bot.storage.database``."""

LOAD = 0.9
"""Share of what the devices can draw that is asked for."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What one picture takes, in seconds.

    Attributes:
        loop: Of the event loop's core, in all.
        statements: Of the writer for the statements of one of its three transactions.
        commit: Of the writer for a commit, however many transactions share it.
        store: Of one of the disk's channels: the file and its folder, synced.
        channels: How many files the disk syncs at the same time.
        calls: Calls to the chat platform; 0: the page alone.
        calls_per_second: What the platform allows.
    """

    loop: float
    statements: float
    commit: float
    store: float
    channels: int = 4
    calls: int = 2
    calls_per_second: float = 50.0


@dataclass(slots=True)
class Station:
    """Something that pictures wait for, first come, first served: ``channels`` at the same time, or ``group`` at once."""

    name: str
    each: float
    channels: int = 1
    group: int = 1
    start: float = 0.0
    busy: float = 0.0
    waits: list[float] = field(default_factory=list)
    line: deque[tuple[float, int]] = field(default_factory=deque)
    free: int = field(init=False)

    def __post_init__(self) -> None:
        self.free = self.channels

    def begin(self, now: float) -> tuple[float, list[int]] | None:
        """Return when the next ones end, and who they are; None while nothing can begin."""
        if not self.line or not self.free:
            return None
        taken = [self.line.popleft() for _ in range(min(self.group, len(self.line)))]
        took = self.start + self.each * len(taken)
        self.free -= 1
        self.busy += took
        self.waits += [now - came for came, _ in taken]
        return now + took, [who for _, who in taken]


@dataclass(frozen=True, slots=True)
class Found:
    """How full a station was (1: all the time), and how long pictures waited for it, in seconds."""

    station: str
    full: float
    wait_p99: float
    left: int


def simulate(devices: int, costs: Costs, *, seconds: float = 60.0, seed: int = 1) -> Sequence[Found]:
    """Run a service for some virtual seconds; returns its stations, the fullest first."""
    part = costs.loop / 3
    stations = {
        "loop": Station("loop", part),
        "writer": Station("writer", costs.statements, group=GROUP, start=costs.commit),
        "devices": Station("devices", 1.0, channels=devices),
        "disk": Station("disk", costs.store, channels=costs.channels),
        "gateway": Station("gateway", costs.calls / costs.calls_per_second),
    }
    way: Sequence[str] = ("loop", "writer", "devices", "disk", "loop", "writer", "gateway", "loop", "writer")
    if not costs.calls:
        way = tuple(name for name in way if name != "gateway")
    rng, order = random.Random(seed), itertools.count()
    at: list[int] = []
    moments: list[tuple[float, int, str, list[int]]] = []

    def arrive(who: int, now: float) -> None:
        if at[who] < len(way):
            stations[way[at[who]]].line.append((now, who))
            advance(way[at[who]], now)

    def advance(name: str, now: float) -> None:
        while (begun := stations[name].begin(now)) is not None:
            heapq.heappush(moments, (begun[0], next(order), name, begun[1]))

    now = 0.0
    while (now := now + rng.expovariate(LOAD * devices)) < seconds:
        at.append(0)
        heapq.heappush(moments, (now, next(order), "", [len(at) - 1]))
    while moments and moments[0][0] < seconds:
        now, _, name, some = heapq.heappop(moments)
        if name:
            stations[name].free += 1
        for who in some:
            at[who] += bool(name)
            arrive(who, now)
        if name:
            advance(name, now)
    found = [
        Found(one.name, one.busy / (seconds * one.channels), percentile(one.waits, 99), len(one.line))
        for one in stations.values()
        if len(one.waits) > 1 and one.name != "devices"
    ]
    return sorted(found, key=lambda one: (-one.left, -one.full))
