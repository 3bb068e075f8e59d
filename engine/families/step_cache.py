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

    def record(self, state: DenoiseState, prediction: Tensor) -> None:
        """Store the computed prediction of the picture's next step."""
        if self._is_cacheable(state):
            # A copy, since a view would keep the whole batch's tensor alive.
            state.predictions = (*state.predictions, (_time(state), prediction.clone()))[-2:]

    def extrapolate(self, state: DenoiseState) -> Tensor | None:
        """Return the extrapolated prediction of the next step; None where it must be computed, or where none is left."""
        if (
            state.finished
            or len(state.predictions) < 2
            or not self._is_cacheable(state)
            or not self._is_extrapolated(state)
        ):
            return None
        (before, one), (last, two) = state.predictions
        return two + (two - one) * ((_time(state) - last) / (last - before))

    def _is_cacheable(self, state: DenoiseState) -> bool:
        scheduler = state.scheduler
        return (
            self.every > 1
            and state.steps >= LEAST_STEPS
            and isinstance(scheduler, FlowMatchEulerDiscreteScheduler)
            and not scheduler.config.stochastic_sampling
        )

    def _is_extrapolated(self, state: DenoiseState) -> bool:
        first = max(3, int(state.steps * FIRST_SHARE))
        return first <= state.done < state.steps - LAST and (state.done - first) % self.every != 0


def _time(state: DenoiseState) -> float:
    return float(state.timesteps[state.done])
