"""List scheduling: which slot draws each waiting picture, and when, if no others come."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bot.dispatch.slot_load import SlotLoad
from engine.contract import Slot


class Assigned(NamedTuple):
    """Work that was given to a slot; times in device seconds.

    Attributes:
        slot: Id of the slot.
        given: The slot's work that was given to it by the schedule, up to this.
        ends: When it is done.
    """

    slot: str
    given: float
    ends: float


class ListSchedule:
    """Gives each picture to the slot that is free first. An assignment takes O(log n) of the slots.

    Times are in device seconds.
    """

    def __init__(self, slots: Sequence[SlotLoad], speeds: Mapping[str, float]) -> None:
        """Args:
        slots: The slots that draw.
        speeds: Reference seconds of work that each does in a second, by its id.
        """
        self._speeds = speeds
        self._given = dict.fromkeys((load.id for load in slots), 0.0)
        # Slots that can draw the same share a heap of (when it is free, rank among equals, id), with one of them.
        self._kinds: dict[tuple[frozenset[str], frozenset[str]], tuple[Slot, list[tuple[float, int, str]]]] = {}
        self._slots = sorted(slots, key=lambda load: -speeds[load.id])

    def begin(self, busy: Mapping[str, float]) -> None:
        """Assign from now on; ``busy`` has the device seconds of work that each slot has already, by id."""
        self._kinds = {}
        for rank, load in enumerate(self._slots):
            entry = (busy.get(load.id, 0.0) + self._given[load.id], rank, load.id)
            self._kinds.setdefault((load.slot.models, load.slot.plain), (load.slot, []))[1].append(entry)
        for _, heap in self._kinds.values():
            heapq.heapify(heap)

    def assign(self, model: str, seconds: float, *, plain: bool = True) -> Assigned | None:
        """Give work of this many reference seconds to a slot; returns None if no slot can draw it.

        Args:
            model: Name of its profile.
            seconds: Reference seconds.
            plain: As ``Recipe.plain``.
        """
        able = [heap for slot, heap in self._kinds.values() if slot.can_draw(model, plain=plain)]
        if not able:
            return None
        heap = min(able, key=lambda heap: heap[0])
        free, rank, slot = heap[0]
        took = seconds / self._speeds[slot]
        heapq.heapreplace(heap, (free + took, rank, slot))
        self._given[slot] += took
        return Assigned(slot, self._given[slot], free + took)
