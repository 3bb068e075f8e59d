"""Samplers by A1111's names, and the diffusers schedulers that they are; one table for each kind of model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Config = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class Sampler:
    """A diffusers scheduler.

    Attributes:
        scheduler: Name of its class.
        config: Its settings that make it this sampler; all others are those of the model's own scheduler.
    """

    scheduler: str
    config: Config = field(default_factory=dict)


def _both(name: str, scheduler: str, **config: str | int | float | bool) -> Mapping[str, Sampler]:
    """Return a sampler with the model's noise levels and with Karras's (arXiv 2206.00364, equation 5)."""
    # Named in both, since a model's own scheduler may have these settings.
    return {
        name: Sampler(scheduler, {**config, "use_karras_sigmas": False}),
        f"{name} Karras": Sampler(scheduler, {**config, "use_karras_sigmas": True}),
    }


_DPM = "DPMSolverMultistepScheduler"
_ODE, _SDE = "dpmsolver++", "sde-dpmsolver++"

# A latent is not clipped to -1..1, as DDIM and PNDM do by default to pixels.
_DDIM: Config = {"clip_sample": False, "set_alpha_to_one": False}

NOISE: Mapping[str, Sampler] = {
    "Euler": Sampler("EulerDiscreteScheduler", {"use_karras_sigmas": False}),
    "Euler a": Sampler("EulerAncestralDiscreteScheduler"),
    **_both("DPM++ 2M", _DPM, algorithm_type=_ODE, solver_order=2),
    **_both("DPM++ 2M SDE", _DPM, algorithm_type=_SDE, solver_order=2),
    **_both("DPM++ 3M SDE", _DPM, algorithm_type=_SDE, solver_order=3),
    **_both("DPM++ SDE", "DPMSolverSinglestepScheduler", algorithm_type=_SDE, solver_order=2, lower_order_final=True),
    **_both("DPM2", "KDPM2DiscreteScheduler"),
    **_both("DPM2 a", "KDPM2AncestralDiscreteScheduler"),
    **_both("Heun", "HeunDiscreteScheduler"),
    "UniPC": Sampler("UniPCMultistepScheduler", {"use_karras_sigmas": False, "solver_order": 2}),
    "DDIM": Sampler("DDIMScheduler", _DDIM),
    "PLMS": Sampler("PNDMScheduler", {"skip_prk_steps": True, "set_alpha_to_one": False}),
    "LCM": Sampler("LCMScheduler"),
}
"""Of models that predict noise, or v, along a noise schedule (SDXL, Stable Diffusion). LMS needs SciPy and is left out."""

_FLOW: Config = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}

FLOW: Mapping[str, Sampler] = {
    "Euler": Sampler("FlowMatchEulerDiscreteScheduler"),
    "Heun": Sampler("FlowMatchHeunDiscreteScheduler"),
    "DPM++ 2M": Sampler(_DPM, {**_FLOW, "algorithm_type": _ODE, "solver_order": 2}),
    "DPM++ 2M SDE": Sampler(_DPM, {**_FLOW, "algorithm_type": _SDE, "solver_order": 2}),
    "UniPC": Sampler("UniPCMultistepScheduler", {**_FLOW, "solver_order": 2}),
}
"""Of models that were trained by flow matching (Z-Image)."""

_USUAL: Config = {"use_karras_sigmas": False, "algorithm_type": _ODE, "solver_order": 2}
"""Settings that tell samplers of one class apart, with their values in diffusers."""


def name_of(scheduler: str, config: Config) -> str:
    """Return A1111's name of a scheduler class with these settings; the class's own name where A1111 has none."""
    own = {**_USUAL, **config}
    for name, sampler in (*NOISE.items(), *FLOW.items()):
        if sampler.scheduler == scheduler and all(own[k] == v for k, v in sampler.config.items() if k in _USUAL):
            return name
    return scheduler.removesuffix("Scheduler") + (" Karras" if own["use_karras_sigmas"] else "")
