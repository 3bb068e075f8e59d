"""Which slot of the engine draws what: idle ones first, those with the model on the device, and the fast ones.

A slot may be left without work that would make it load a model while another slot, which has the model, begins it sooner.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType

from bot.core.ports import Clock, Ticket
from bot.dispatch.in_flight import InFlightBatch
from bot.dispatch.slot_load import SlotLoad
from bot.queue.fair_queue import WorkItem
from bot.queue.job_queue import JobQueue
from bot.queue.timing import DurationEstimate, SlotSpeeds
from engine.contract import READY, Lane, Phase, Slot

SWAP_AFTER = 60.0
"""Seconds for which a job waits at most for a slot with its model while another slot could load that."""

SHUN_SECONDS = 30.0
"""Seconds after a loss for which a slot is given work only when no other is idle."""

SHARE_GAIN = 0.75
"""Waiting pictures are shared out among idle slots where that takes at most this share of the time of one slot: pictures
that are drawn together may cost less device time in all, which the next person would miss."""

_SLACK = 64
"""Jobs that have left the queue and are remembered before they are swept out."""

_GONE = frozenset({Phase.LOST, Phase.BROKEN})

_WILL_DRAW = READY | {Phase.WARMING}
"""Phases of a slot that draws soon without anybody's help."""


class SlotPlacement:
    """The engine's slots, and the order in which they are given work."""

    def __init__(
        self, slots: Sequence[Slot], queue: JobQueue, *, estimate: DurationEstimate, speeds: SlotSpeeds, clock: Clock
    ) -> None:
        """Args:
        slots: The engine's slots.
        queue: What waits.
        estimate: Reference seconds of a picture.
        speeds: How fast each slot is.
        clock: Time.
        """
        self._queue = queue
        self._estimate = estimate
        self._speeds = speeds
        self._clock = clock
        self._loads: dict[str, SlotLoad] = {}
        self._able: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
        self._version = 0
        self._idle: dict[str, SlotLoad] = {}
        self._busy: dict[str, SlotLoad] = {}
        # The item that a slot is kept free for, and the slot.
        self._kept: tuple[int, str] | None = None
        # The slots that were chosen in this turn and are not known to be busy yet.
        self._chosen: set[str] = set()
        # When a slot first left a job to another slot, by job.
        self._left: dict[int, float] = {}
        self.update(slots)

    @property
    def loads(self) -> Mapping[str, SlotLoad]:
        """All slots, by id, in the engine's order."""
        return MappingProxyType(self._loads)

    @property
    def version(self) -> int:
        """Increases with every change of the slots that can draw."""
        return self._version

    def drawing(self) -> list[SlotLoad]:
        """Return the slots that can draw; all of them while none can."""
        return [load for load in self._loads.values() if load.slot.ready] or list(self._loads.values())

    @property
    def several(self) -> bool:
        """Whether there is more than one slot."""
        return len(self._loads) > 1

    def update(self, slots: Sequence[Slot]) -> None:
        """The engine has these slots now. One that is gone and has batches stays until they have ended."""
        known, self._loads = self._loads, {}
        for slot in slots:
            load = known.pop(slot.id) if slot.id in known else SlotLoad(slot)
            load.update(slot)
            self._loads[slot.id] = load
        ready = [load for load in self._loads.values() if load.slot.ready]
        if (able := {load.id: (load.slot.models, load.slot.plain) for load in ready}) != self._able:
            self._able = able
            self._version += 1
        self._loads.update((load.id, load) for load in known.values() if len(load.in_flight))
        self._idle = {load.id: load for load in ready if load.in_flight.is_empty()}
        self._busy = {load.id: load for load in ready if not load.in_flight.is_empty()}
        models = [each for each, _ in able.values()]
        self._queue.set_models(frozenset().union(*models) if able and all(models) else None)
        self._speeds.keep({load.id for load in ready})

    def is_ready(self) -> bool:
        """Whether a slot can draw."""
        return bool(self._idle or self._busy)

    def gone(self) -> list[str]:
        """Return the slots that were lost or can't start, while there are others."""
        return [slot for slot in self._loads if self.is_gone(slot)]

    def is_gone(self, slot: str) -> bool:
        """Whether a slot was lost or can't start, while there are others."""
        load = self._loads.get(slot)
        return load is not None and self.several and load.slot.state.phase in _GONE

    def is_overdue(self) -> bool:
        """Whether a job has waited for a slot with its model for so long that another slot may load that now."""
        now = self._clock.monotonic()
        return any(now - since > SWAP_AFTER and job_id in self._queue for job_id, since in self._left.items())

    def could_begin(self) -> bool:
        """Whether an idle slot could draw something that waits."""

        def fits(item: WorkItem, _: Lane) -> bool:
            return any(_can_draw(load, item.ticket) for load in self._idle.values())

        return self._queue.lead(fits, keeps=lambda _: False, beyond=True) is not None

    def add(self, batch: InFlightBatch) -> None:
        """A batch is handed to its slot."""
        load = self._loads[batch.slot]
        load.in_flight.add(batch)
        load.used_at = self._clock.monotonic()
        if self._idle.pop(load.id, None) is not None:
            self._busy[load.id] = load

    def remove(self, batch: InFlightBatch) -> None:
        """A batch has ended."""
        load = self._loads[batch.slot]
        load.in_flight.remove(batch)
        load.changed()
        if load.in_flight.is_empty() and self._busy.pop(load.id, None) is not None:
            self._idle[load.id] = load

    def lost(self, slot: str) -> None:
        """A slot was lost with a batch."""
        if (load := self._loads.get(slot)) is not None:
            load.lost_at = self._clock.monotonic()

    def choose(self) -> Iterator[tuple[SlotLoad, WorkItem]]:
        """Yield slots and the items that begin their next batches, each slot once at most: idle ones before busy ones.

        The caller takes each item out of the queue before it asks for the next one.
        """
        self._chosen.clear()
        shortest = self._queue.shortest_new()
        hopeless: set[tuple[frozenset[str], frozenset[str], frozenset[str]]] = set()
        for load in self._fast_first(self._idle.values()):
            kind = (load.slot.models, load.slot.plain, load.resident)
            if not len(self._queue):
                return
            if kind in hopeless:
                continue
            if (item := self._lead(load)) is not None:
                self._chosen.add(load.id)
                yield load, item
            elif self._kept is None or self._kept[1] != load.id:
                hopeless.add(kind)
        busy = [load for load in self._busy.values() if load.may_have_room(shortest)]
        if len(busy) > 1:
            lane = Lane.INTERACTIVE if self._queue.has_urgent() else Lane.BULK
            busy.sort(key=lambda load: (self.free_in(load, lane), -self._speeds.of(load.id)))
        for load in busy:
            if not len(self._queue):
                return
            if load.id in self._busy and (item := self._lead(load)) is not None:
                self._chosen.add(load.id)
                yield load, item

    def share(self, slot: str, lead: WorkItem, per_step: int, limit: int) -> int:
        """Return how many pictures a slot takes, so that other slots that would draw them at once draw the others.

        Args:
            slot: Id of the slot.
            lead: The item that begins its batch.
            per_step: How many of its pictures share a step.
            limit: Most pictures that it takes.

        Returns:
            1 to ``limit``.
        """
        ticket, lane = lead.ticket, self._queue.lane(lead)
        if not self.several or lead.solo:
            return limit
        if not self._loads[slot].in_flight.is_free(lane):
            # It draws them later: those that share no step with the first may be begun sooner elsewhere.
            return max(1, min(per_step, limit))
        free = [
            load
            for load in (*self._idle.values(), *self._busy.values())
            if load.in_flight.is_free(lane) and not load.in_flight.is_full() and load.id not in self._chosen
        ]
        others = [
            load.id for load in self._fast_first(free) if load.has_model(ticket.model) and _can_draw(load, ticket)
        ]
        most = limit * (1 + len(others))
        count = self._queue.pictures_like(lead, most)
        if count < 2 or count >= most:
            return limit

        def seconds(pictures: int, on: str) -> float:
            each = self._estimate.seconds_together(ticket, min(pictures, per_step)) or self._estimate.cost(ticket)
            return each * pictures / self._speeds.of(on)

        # Each picture goes where it is done first.
        done = [(seconds(1, on), n, on) for n, on in enumerate((slot, *others))]
        shares: Counter[str] = Counter()
        ends = 0.0
        for _ in range(count):
            at, n, on = done[0]
            shares[on] += 1
            ends = max(ends, at)
            heapq.heapreplace(done, (seconds(shares[on] + 1, on), n, on))
        gains = ends <= SHARE_GAIN * seconds(min(count, limit), slot)
        return max(1, min(limit, shares[slot])) if gains else limit

    def took(self, items: Sequence[WorkItem]) -> None:
        """These items are out of the queue."""
        for item in items:
            self._left.pop(item.ticket.job_id, None)
            if self._kept is not None and self._kept[0] == item.ticket.job_id:
                self._kept = None
        if len(self._left) > 2 * len(self._queue) + _SLACK:
            self._left = {job_id: since for job_id, since in self._left.items() if job_id in self._queue}

    def free_in(self, load: SlotLoad, lane: Lane = Lane.BULK) -> float:
        """Return the device seconds until a slot has drawn all that goes before work of this lane, as measured."""
        return load.in_flight.seconds(lane) / self._speeds.of(load.id)

    def _fast_first(self, loads: Collection[SlotLoad]) -> list[SlotLoad]:
        if len(loads) < 2:
            return list(loads)
        shunned = self._clock.monotonic() - SHUN_SECONDS
        return sorted(loads, key=lambda s: (s.lost_at > shunned, -self._speeds.of(s.id), s.used_at))

    def _lead(self, load: SlotLoad) -> WorkItem | None:
        view = _View(self, load)
        idle = load.in_flight.is_empty()
        item = self._queue.lead(
            view.fits,
            load.resident,
            keeps=view.keeps,
            # An idle slot has room for everything: what it does not take is for another slot.
            beyond=self.several and idle,
        )
        if item is None and not idle:
            load.refuse(view.no_room)
        return item

    def keeps_free(self, load: SlotLoad, item: WorkItem) -> bool:
        """Whether this slot, and no other, is to have room for an item that goes next."""
        if not self.several:
            return True
        job_id = item.ticket.job_id
        kept = self._loads.get(self._kept[1]) if self._kept is not None and self._kept[0] == job_id else None
        if kept is None or not kept.slot.ready or not _can_draw(kept, item.ticket):
            able = [s for s in (*self._idle.values(), *self._busy.values()) if _can_draw(s, item.ticket)]
            if not able:
                return False
            kept = min(able, key=lambda s: self._begins_in(s, item.ticket.model))
            self._kept = (job_id, kept.id)
        return kept is load

    def left_work(self, load: SlotLoad, item: WorkItem, ahead: float) -> float | None:
        """Return the reference seconds of an item that a slot leaves to those that have its model on the device.

        Args:
            load: The slot, which would have to load the model.
            item: The item.
            ahead: Reference seconds of work for the same model that the slot has left to them already.

        Returns:
            None where the slot is to load the model: others would begin the item later, or it has waited for too long.
        """
        ticket = item.ticket
        others = [
            other
            for other in self._loads.values()
            if other is not load
            and other.slot.state.phase in _WILL_DRAW
            and _can_draw(other, ticket)
            and other.has_model(ticket.model)
        ]
        if not others:
            return None
        each = self._estimate.cost(ticket)
        cost = each * len(item.indexes)
        speed, own = sum(self._speeds.of(other.id) for other in others), self._speeds.of(load.id)
        begin = min(self._begins_in(other, ticket.model) for other in others)
        loads = self._begins_in(load, ticket.model) + cost / own
        # Not all that waits is looked at. All of it together ends sooner where this slot does its share of it.
        behind = begin + each * self._queue.pictures(ticket.model) / speed
        pays = behind > loads + behind * speed / (speed + own)
        now = self._clock.monotonic()
        if (
            begin + (ahead + cost) / speed > loads
            or pays
            or now - self._left.setdefault(ticket.job_id, now) > SWAP_AFTER
        ):
            return None
        return cost

    def _begins_in(self, load: SlotLoad, model: str) -> float:
        """Return the seconds until a slot could begin a picture of this model."""
        loading = load.slot.state.phase is Phase.WARMING or not load.has_model(model)
        return self.free_in(load) + (load.switch_seconds if loading else 0.0)


def _can_draw(load: SlotLoad, ticket: Ticket) -> bool:
    return load.slot.can_draw(ticket.model, plain=ticket.plain)


class _View:
    """The waiting items as one slot sees them, for one choice.

    Attributes:
        no_room: The least work of the items that there was no room for, by lane.
    """

    def __init__(self, placement: SlotPlacement, load: SlotLoad) -> None:
        self._placement = placement
        self._load = load
        self._left: dict[int, bool] = {}
        self._ahead: dict[str, float] = {}
        self.no_room: dict[Lane, float] = {}

    def fits(self, item: WorkItem, lane: Lane) -> bool:
        """Whether the slot may be given an item now."""
        load, ticket = self._load, item.ticket
        if not _can_draw(load, ticket):
            return False
        if not load.in_flight.fits(item, lane):
            if not item.solo:
                self.no_room[lane] = min(self.no_room.get(lane, math.inf), ticket.work)
            return False
        if not self._placement.several or load.has_model(ticket.model):
            return True
        left = self._left.get(ticket.job_id)
        if left is None:
            left = self._left[ticket.job_id] = self._leaves(item)
        return not left

    def keeps(self, item: WorkItem) -> bool:
        """Whether the slot takes nothing else until it has room for an item that goes next."""
        return self._placement.keeps_free(self._load, item)

    def _leaves(self, item: WorkItem) -> bool:
        model = item.ticket.model
        cost = self._placement.left_work(self._load, item, self._ahead.get(model, 0.0))
        if cost is None:
            return False
        self._ahead[model] = self._ahead.get(model, 0.0) + cost
        return True
