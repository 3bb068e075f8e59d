"""The scheduler: picks the item that begins a slot's next batch, and what shares the batch, in fair order."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TypeVar

from bot.core.ports import Ticket
from bot.queue.fair_queue import Charge, HierarchicalFairQueue, PersonQueue, QueueKey, WorkItem
from engine.contract import Lane

BULK_ABOVE = 8
"""A person with more pictures than this waiting or being drawn is served in the bulk lane, so that one request for sixteen
pictures and sixteen requests for one are the same to everybody else."""

AGED_EVERY = 8
"""One of this many batches goes to the item that has been first in its queue for longest, whatever its lane, model and
charge. So an item that is first in its queue is begun after at most AGED_EVERY * (1 + queues that were there before it)
batches, once the engine has room for it."""

LOOK_AHEAD = 32
"""Most queues that are checked for an item that the engine has room for, or that can share the batch."""

OLDEST_AHEAD = 256
"""Most of the oldest items that are checked for one that can be drawn, while some models' slots are lost."""

MAX_PASSES = 4
"""Most batches that pass the one whose turn it is because its model is not on the device; then that is loaded."""

K = TypeVar("K", bound=Hashable)

Fits = Callable[[WorkItem, Lane], bool]
"""Whether a slot of the engine may be given an item now, in this lane."""


def always(_: WorkItem) -> bool:
    """Whatever the item: yes."""
    return True


@dataclass(slots=True)
class _MovedBehind:
    """An item that an owner moved to the back: it is out of the fair queue until those before it have begun.

    Attributes:
        item: The item.
        last_id: Jobs with an id up to this go before it.
        before: How many of them wait.
    """

    item: WorkItem
    last_id: int
    before: int


class Scheduler:
    """Picks the next batch in O(log n), whatever waits."""

    def __init__(self, cost: Callable[[Ticket], float]) -> None:
        """``cost`` returns the expected device seconds of one picture."""
        self._lanes = {lane: HierarchicalFairQueue(lane, cost) for lane in Lane}
        self._cost = cost
        self._by_job: dict[int, PersonQueue] = {}
        self._by_person: dict[int, dict[int, PersonQueue]] = {}
        # Pictures of each person that wait, or were handed out and have not ended.
        self._pictures: Counter[int] = Counter()
        # Queues by how long their first item has been first: all of them, by batch key, and by model.
        self._by_age: OrderedDict[PersonQueue, None] = OrderedDict()
        self._by_batch: dict[tuple[Lane, Hashable], OrderedDict[PersonQueue, None]] = {}
        self._by_model: dict[tuple[Lane, str], OrderedDict[PersonQueue, None]] = {}
        self._passes: Counter[int] = Counter()
        self._since_aged = 0
        # Jobs that an owner moved: to the front, the one that begins first first; and to the back.
        self._ahead: OrderedDict[int, None] = OrderedDict()
        self._behind: dict[int, _MovedBehind] = {}
        # The models that can be drawn now; None: all of them.
        self._models: frozenset[str] | None = None
        # Waiting pictures by model, and the least work of the items that have become first in their queues, by lane.
        self._by_model_pictures: Counter[str] = Counter()
        self._shortest: dict[Lane, int] = {}

    def __len__(self) -> int:
        """Return how many jobs wait."""
        return len(self._by_job) + len(self._behind)

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._by_job or job_id in self._behind

    def __iter__(self) -> Iterator[int]:
        """Iterate over the ids of the waiting jobs, in no order."""
        return chain(self._by_job, self._behind)

    def put(self, item: WorkItem, *, front: bool = False) -> None:
        """Add an item at the end, or at the ``front``, of its person's queue. Its job must not wait already."""
        job_id, place, person = item.ticket.job_id, item.ticket.place, item.ticket.person_id
        queues = self._by_person.setdefault(person, {})
        queue = queues.get(place)
        if queue is None:
            queue = queues[place] = PersonQueue(place, person)
        if not queue.items:
            self._by_age[queue] = None
        queue.items[job_id] = item
        if front or item.ahead:
            queue.items.move_to_end(job_id, last=False)
        if item.ahead:
            self._ahead[job_id] = None
            self._ahead.move_to_end(job_id, last=False)
        self._by_job[job_id] = queue
        self._count_before(job_id, 1)
        self._pictures[person] += len(item.indexes)
        self._by_model_pictures[item.ticket.model] += len(item.indexes)
        self._reindex(person)

    def join(self, item: WorkItem) -> None:
        """Add pictures of a job that waits: another part of it was handed out and comes back."""
        job_id = item.ticket.job_id
        if (moved := self._behind.get(job_id)) is not None:
            moved.item = moved.item.joined(item)
            return
        queue = self._by_job[job_id]
        before = queue.items[job_id]
        queue.items[job_id] = joined = before.joined(item)
        added = len(joined.indexes) - len(before.indexes)
        self._pictures[queue.person] += added
        self._by_model_pictures[item.ticket.model] += added
        self._reindex(queue.person)

    def remove(self, job_id: int) -> WorkItem | None:
        """Remove a job; returns its item, or None when it did not wait."""
        item = self._take_out(job_id)
        self._release()
        return item

    def move_ahead(self, job_id: int) -> bool:
        """Let a job begin before all others, also those that were moved ahead before; returns whether it waits."""
        item = self._take_out(job_id)
        if item is None:
            return False
        self.put(replace(item, ahead=True))
        self._release()
        return True

    def move_behind(self, job_id: int, last_id: int) -> bool:
        """Let a job begin after the waiting ones up to an id; later ones may begin before it or after it.

        Args:
            job_id: The job.
            last_id: The newest job that goes before it (``newest``: all that wait now).

        Returns:
            Whether it waits.
        """
        item = self._take_out(job_id)
        if item is None:
            return False
        before = sum(other <= last_id for other in self._by_job)
        self._behind[job_id] = _MovedBehind(replace(item, ahead=False), last_id, before)
        self._release()
        return True

    def newest(self) -> int:
        """Return the id of the newest job that waits; 0 while none does."""
        return max(self, default=0)

    def approximate_position(self, job_id: int) -> int:
        """Return about where a new job stands (1 is next): after the first item of each urgent queue, or at the end."""
        if job_id in self._behind:
            return len(self)
        urgent = self._lane(self._by_job[job_id]) is Lane.INTERACTIVE
        return len(self._lanes[Lane.INTERACTIVE]) if urgent else len(self)

    def set_models(self, models: frozenset[str] | None) -> None:
        """Only these models can be drawn now, while others wait; None: all of them."""
        self._models = models

    def models(self) -> frozenset[str]:
        """Return the models of the items that are first in their queues."""
        return frozenset(model for _, model in self._by_model)

    def pictures(self, model: str) -> int:
        """Return how many pictures of a model wait, without those of jobs that an owner moved to the back."""
        return self._by_model_pictures[model]

    def lane(self, item: WorkItem) -> Lane:
        """Return the lane of an item that waits."""
        return self._lane(self._by_job[item.ticket.job_id])

    def has_urgent(self) -> bool:
        """Whether interactive work waits."""
        return bool(self._lanes[Lane.INTERACTIVE])

    def pictures_like(self, lead: WorkItem, most: int) -> int:
        """Return how many pictures of the lane and model of an item wait, but at most ``most``."""
        queues = self._by_model.get((self.lane(lead), lead.ticket.model), ())
        count = 0
        for item in chain.from_iterable(queue.items.values() for queue in queues):
            count += len(item.indexes)
            if count >= most:
                return most
        return count

    def shortest_new(self) -> Mapping[Lane, int]:
        """Return, by lane, the least work of the items that have become first in their queues since the last call."""
        found, self._shortest = self._shortest, {}
        return found

    def lead(
        self,
        fits: Fits,
        resident: Collection[str] = (),
        *,
        keeps: Callable[[WorkItem], bool] = always,
        beyond: bool = False,
    ) -> WorkItem | None:
        """Return the item that begins the next batch of a slot; None when none waits or none may go now. Changes nothing.

        Args:
            fits: Whether the slot may be given an item now.
            resident: The models on the device; empty where they are unknown. A model change costs something only where the
                other model is none of them.
            keeps: Whether the slot takes nothing else until it may be given this item, which must go next.
            beyond: Where none of the first items fits, look at all models, and then at bulk work although urgent work
                waits: another slot is there for that.
        """
        if self._ahead:
            # What is left of an earlier job may be first in its person's queue.
            queue = self._by_job[next(iter(self._ahead))]
            if fits(queue.head, self._lane(queue)):
                return queue.head
            if self._can_be_drawn(queue) and keeps(queue.head):
                return None
        if self._since_aged >= AGED_EVERY - 1 and (oldest := self._oldest()) is not None:
            lane = self._lane(oldest)
            if fits(oldest.head, lane):
                return oldest.head
            if lane is Lane.INTERACTIVE and keeps(oldest.head):
                return None
            # The slot has enough bulk work and will get to it: urgent work does not have to wait for that.
        # Bulk items go only when nothing urgent waits, even where they fit and the urgent ones do not.
        lane = Lane.INTERACTIVE if self._lanes[Lane.INTERACTIVE] else Lane.BULK
        found = self._lead_of(lane, fits, resident)
        if found is None and beyond:
            lanes = (Lane.INTERACTIVE, Lane.BULK) if lane is Lane.INTERACTIVE else (Lane.BULK,)
            return next((item for one in lanes if (item := self._any_of(one, fits)) is not None), None)
        return found

    def _lead_of(self, lane: Lane, fits: Fits, resident: Collection[str]) -> WorkItem | None:
        heads = (queue.head for queue in islice(self._lanes[lane].walk(), LOOK_AHEAD))
        first = next((item for item in heads if fits(item, lane)), None)
        if first is None or not resident or first.ticket.model in resident:
            return first
        if self._passes[first.ticket.job_id] >= MAX_PASSES:
            return first
        near = (queue.head for queue in islice(self._lanes[lane].walk(), LOOK_AHEAD))
        for item in near:
            if item.ticket.model in resident and fits(item, lane):
                return item
        for model in sorted(resident):
            for queue in islice(self._by_model.get((lane, model), ()), LOOK_AHEAD):
                if fits(queue.head, lane):
                    return queue.head
        return first

    def _any_of(self, lane: Lane, fits: Fits) -> WorkItem | None:
        """Return an item of any model that fits, the oldest of its model; None where none does."""
        for (of, _), queues in self._by_model.items():
            for queue in islice(queues if of is lane else (), LOOK_AHEAD):
                if fits(queue.head, lane):
                    return queue.head
        return None

    def _oldest(self) -> PersonQueue | None:
        """Return the queue whose first item has been first for longest, of those that can be drawn now."""
        if self._models is None:
            return next(iter(self._by_age), None)
        return next((queue for queue in islice(self._by_age, OLDEST_AHEAD) if self._can_be_drawn(queue)), None)

    def _can_be_drawn(self, queue: PersonQueue) -> bool:
        return self._models is None or queue.head.ticket.model in self._models

    def take(self, limit: int, lead: WorkItem, *, mates: Callable[[WorkItem], bool] = always) -> tuple[WorkItem, ...]:
        """Take the batch that ``lead``, which ``lead()`` has returned, begins: at most ``limit`` pictures.

        The other items are first in their queues, can share the batch (``Ticket.share``), are in the same lane, and
        their people are at most one batch ahead of those whose turn it is. Each item has its charge. Pictures that do
        not fit are in ``later`` of their item: put them back after the batch, or at once where another slot may draw
        them at the same time.

        Args:
            limit: Most pictures.
            lead: The item that begins it.
            mates: Whether the batch's slot can draw another item.
        """
        queue = self._by_job[lead.ticket.job_id]
        lane = self._lane(queue)
        self._since_aged = 0 if queue is self._oldest() else self._since_aged + 1
        front = next(self._lanes[lane].walk())
        if front is not queue:
            self._passes[front.head.ticket.job_id] += 1
        self._lanes[lane].advance(queue)
        taken = [self._take_head(queue, limit)]
        room = limit - len(taken[0].indexes)
        max_surplus = self._cost(lead.ticket) * limit
        while room > 0 and not lead.solo:
            mate = self._mate(QueueKey(lane, _batch_key(lead), lead.ticket.model), max_surplus, mates)
            if mate is None:
                break
            taken.append(self._take_head(mate, room))
            room -= len(taken[-1].indexes)
        return tuple(taken)

    def settle(self, charge: Charge, seconds: float) -> None:
        """A picture that was handed out has ended: charge the device seconds that it took instead of the expected."""
        self._lanes[charge.lane].adjust(charge, seconds - charge.seconds_per_picture)
        self._subtract(charge.ticket.person_id, 1)

    def order(self) -> Iterator[tuple[Lane, WorkItem]]:
        """Iterate over all items in the order in which they would begin if no others came. Takes O(n log n)."""
        for job_id in self._ahead:
            queue = self._by_job[job_id]
            yield self._lane(queue), queue.items[job_id]
        for lane in Lane:
            for item in self._lanes[lane].order():
                if item.ticket.job_id not in self._ahead:
                    yield lane, item
        for moved in self._behind.values():
            yield Lane.BULK if moved.item.ticket.bulk else Lane.INTERACTIVE, moved.item

    def _take_out(self, job_id: int) -> WorkItem | None:
        """Remove a job, and leave those behind it where they are."""
        if (moved := self._behind.pop(job_id, None)) is not None:
            return moved.item
        queue = self._by_job.pop(job_id, None)
        self._passes.pop(job_id, None)
        self._ahead.pop(job_id, None)
        if queue is None:
            return None
        item = queue.items.pop(job_id)
        self._by_model_pictures[item.ticket.model] -= len(item.indexes)
        self._subtract(queue.person, len(item.indexes))
        self._count_before(job_id, -1)
        return item

    def _count_before(self, job_id: int, change: int) -> None:
        for moved in self._behind.values():
            if job_id <= moved.last_id:
                moved.before += change

    def _release(self) -> None:
        """Put those into the fair queue that no job goes before any more."""
        for job_id, moved in list(self._behind.items()):
            if moved.before <= 0:
                del self._behind[job_id]
                self.put(moved.item)

    def _mate(self, key: QueueKey, max_surplus: float, can: Callable[[WorkItem], bool]) -> PersonQueue | None:
        """Return a queue whose first item can share a batch: first those that an owner moved to the front."""
        for job_id in islice(self._ahead, LOOK_AHEAD):
            queue = self._by_job[job_id]
            if queue.key == key and queue.head.ticket.job_id == job_id and can(queue.head):
                return queue
        mates = islice(self._by_batch.get((key.lane, key.batch), ()), LOOK_AHEAD)
        fair = (mate for mate in mates if can(mate.head) and self._lanes[key.lane].surplus(mate) <= max_surplus)
        return next(fair, None)

    def _take_head(self, queue: PersonQueue, limit: int) -> WorkItem:
        """Charge for a queue's first item and take it out."""
        piece = queue.head.first(limit)
        charge = self._lanes[self._lane(queue)].charge(queue, len(piece.indexes))
        self._by_age.move_to_end(queue)
        self._pictures[queue.person] += len(piece.indexes)
        self.remove(piece.ticket.job_id)
        if (key := queue.key) is not None:
            self._by_batch[key.lane, key.batch].move_to_end(queue)
            self._by_model[key.lane, key.model].move_to_end(queue)
        return replace(piece, charge=charge)

    def _lane(self, queue: PersonQueue) -> Lane:
        assert queue.key is not None
        return queue.key.lane

    def _subtract(self, person: int, pictures: int) -> None:
        self._pictures[person] -= pictures
        self._reindex(person)
        if not self._pictures[person]:
            del self._pictures[person]

    def _reindex(self, person: int) -> None:
        """Move each of a person's queues to where it belongs now."""
        queues = self._by_person.get(person, {})
        crowded = self._pictures[person] > BULK_ABOVE
        for queue in list(queues.values()):
            key: QueueKey | None = None
            if queue.items:
                head = queue.head
                lane = Lane.BULK if crowded or head.ticket.bulk else Lane.INTERACTIVE
                key = QueueKey(lane, _batch_key(head), head.ticket.model)
                self._shortest[lane] = min(head.ticket.work, self._shortest.get(lane, head.ticket.work))
            if key != queue.key:
                self._move(queue, key)
            if key is None:
                del queues[queue.place]
                del self._by_age[queue]
        if not queues:
            self._by_person.pop(person, None)

    def _move(self, queue: PersonQueue, key: QueueKey | None) -> None:
        before, queue.key = queue.key, key
        if before is not None:
            _remove_from(self._by_batch, (before.lane, before.batch), queue)
            _remove_from(self._by_model, (before.lane, before.model), queue)
            if key is None or key.lane is not before.lane:
                self._lanes[before.lane].remove(queue)
        if key is not None:
            self._by_batch.setdefault((key.lane, key.batch), OrderedDict())[queue] = None
            self._by_model.setdefault((key.lane, key.model), OrderedDict())[queue] = None
            if before is None or key.lane is not before.lane:
                self._lanes[key.lane].add(queue)


def _remove_from(index: dict[K, OrderedDict[PersonQueue, None]], key: K, queue: PersonQueue) -> None:
    del index[key][queue]
    if not index[key]:
        del index[key]


def _batch_key(item: WorkItem) -> Hashable:
    """Return a key that is equal for items that can share a batch; a solo item shares none."""
    return ("solo", item.ticket.job_id) if item.solo else item.ticket.share or item.ticket.batch_key
