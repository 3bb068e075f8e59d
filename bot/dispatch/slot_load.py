"""One slot of the engine: what it is doing, and the batches that it has."""

from __future__ import annotations

import math
from collections.abc import Mapping

from bot.dispatch.in_flight import InFlight
from engine.contract import Lane, Slot

UNKNOWN_SWITCH = 5.0
"""Seconds that a model change is expected to take on a slot that has made none."""


class SlotLoad:
    """One slot: what it is doing, the batches that it has, and when it was used.

    Attributes:
        slot: What the engine says of it.
        in_flight: Its batches.
        used_at: When it was given its last batch, by the monotonic clock.
        lost_at: When it was lost with a batch.
    """

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.in_flight = InFlight(slot.calls)
        self.used_at = self.lost_at = -math.inf
        self._refused: dict[Lane, float] | None = None
        self._warm = slot.state.without_load

    @property
    def id(self) -> str:
        """Id of the slot."""
        return self.slot.id

    @property
    def resident(self) -> frozenset[str]:
        """Names of the models on the device."""
        return self._warm

    @property
    def switch_seconds(self) -> float:
        """Expected seconds of a model change."""
        return self.slot.state.switch_seconds or UNKNOWN_SWITCH

    def update(self, slot: Slot) -> None:
        """The engine says this of it now."""
        self.slot, self._warm = slot, slot.state.without_load
        self.in_flight.calls = slot.calls
        self.changed()

    def changed(self) -> None:
        """It may have room for another batch."""
        self._refused = None

    def refuse(self, works: Mapping[Lane, float]) -> None:
        """No waiting item can be handed over now; ``works``: the least work that there was no room for, by lane."""
        self._refused = dict(works)

    def may_have_room(self, shortest: Mapping[Lane, float]) -> bool:
        """Whether to look for an item for it, where these are the works of the shortest new ones, by lane."""
        if self.in_flight.is_full():
            return False
        return self._refused is None or any(work < self._refused.get(lane, math.inf) for lane, work in shortest.items())

    def has_model(self, model: str) -> bool:
        """Whether no load is needed for this model once its batches are drawn."""
        return model in self._warm or model in self.in_flight.models()
