"""Extrapolates some steps of a long drawing from the steps before, so that the denoiser runs less often."""

from __future__ import annotations

from dataclasses import dataclass

from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from engine.families.denoise_state import DenoiseState

LEAST_STEPS = 20
"""Shorter drawings are computed completely: their predictions change too much between two steps."""

FIRST_SHARE = 0.15
"""Share of the steps at the beginning that are always computed, three at least: they decide the composition."""

LAST = 2
"""Steps at the end that are always computed: they decide the details."""


@dataclass(frozen=True, slots=True)
class StepCache:
    """Decides which steps are extrapolated, linearly from the last two computed predictions (after guidance).

    The choice depends on the number of steps alone, not on values, so that a picture is the same in any batch and after
    a pause. It was measured with flow matching, whose predictions change slowly; for other schedulers, or those that
    add noise, all steps are computed (docs/adr/0019).

    Args:
        every: One step in ``every`` is computed; 1: all are.
    """

    every: int = 1

    def note(self, drawing: DenoiseState, prediction: Tensor) -> None:
        """Store the computed prediction of the drawing's next step."""
        if self._fits(drawing):
            # A copy, since a view would keep the whole batch's tensor alive.
            drawing.past = (*drawing.past, (_time(drawing), prediction.clone()))[-2:]

    def guess(self, drawing: DenoiseState) -> Tensor | None:
        """Return the extrapolated prediction of the next step; None where it must be computed, or where none is left."""
        if drawing.over or len(drawing.past) < 2 or not self._fits(drawing) or not self._skips(drawing):
            return None
        (before, one), (last, two) = drawing.past
        return two + (two - one) * ((_time(drawing) - last) / (last - before))

    def _fits(self, drawing: DenoiseState) -> bool:
        scheduler = drawing.scheduler
        return (
            self.every > 1
            and drawing.steps >= LEAST_STEPS
            and isinstance(scheduler, FlowMatchEulerDiscreteScheduler)
            and not scheduler.config.stochastic_sampling
        )

    def _skips(self, drawing: DenoiseState) -> bool:
        first = max(3, int(drawing.steps * FIRST_SHARE))
        return first <= drawing.done < drawing.steps - LAST and (drawing.done - first) % self.every != 0


def _time(drawing: DenoiseState) -> float:
    return float(drawing.times[drawing.done])
