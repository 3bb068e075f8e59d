"""Guesses some steps of a long drawing from those computed before, so that fewer go through the denoiser."""

from __future__ import annotations

from dataclasses import dataclass

from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from engine.families.denoise_state import DenoiseState

LEAST_STEPS = 20
"""Shorter drawings are computed whole: what lies between two of their steps is no straight line."""

FIRST_SHARE = 0.15
"""So much of a drawing is computed at its beginning, where the picture is decided; three steps at least."""

LAST = 2
"""Steps that are computed at its end, where details are."""


@dataclass(frozen=True, slots=True)
class StepCache:
    """Which steps are guessed, and what they are taken for: the straight line through the last two predictions.

    A prediction is the denoiser's, with its guidance. Which steps are guessed depends on the drawing alone, not on its
    numbers, so that it is the same in company and when it was set aside. Measured with flow matching, whose predictions
    change slowly and steadily; nothing is guessed for other schedulers, or where one adds noise (docs/adr/0019).

    Args:
        every: One step in so many is computed; 1: all are.
    """

    every: int = 1

    def note(self, drawing: DenoiseState, prediction: Tensor) -> None:
        """Remember what was computed for the drawing's next step."""
        if self._fits(drawing):
            # A copy: it is a part of the whole batch's tensor, which would stay alive with it.
            drawing.past = (*drawing.past, (_time(drawing), prediction.clone()))[-2:]

    def guess(self, drawing: DenoiseState) -> Tensor | None:
        """Return the prediction of the drawing's next step; None where it is to be computed, or where there is none."""
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
