from __future__ import annotations

from pathlib import Path

import diffusers
import pytest

from engine.contract import SECOND_ORDER
from engine.samplers import FLOW, NOISE, Config, Sampler, name_of


@pytest.mark.parametrize("name", list(NOISE))
def test_each_scheduler_of_the_table_has_its_name(name: str) -> None:
    assert name_of(NOISE[name].scheduler, NOISE[name].config) == name


@pytest.mark.parametrize(
    ("scheduler", "config", "name"),
    [
        ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}, "Euler"),
        ("EulerAncestralDiscreteScheduler", {}, "Euler a"),
        ("DPMSolverMultistepScheduler", {}, "DPM++ 2M"),
        ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}, "DPM++ 2M Karras"),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, "DPM++ 2M SDE"),
        ("FlowMatchEulerDiscreteScheduler", {}, "Euler"),
        ("SomeNewScheduler", {}, "SomeNew"),
        ("SomeNewScheduler", {"use_karras_sigmas": True}, "SomeNew Karras"),
    ],
)
def test_a_models_own_scheduler_has_a1111s_name(scheduler: str, config: Config, name: str) -> None:
    assert name_of(scheduler, config) == name


@pytest.mark.parametrize(("name", "sampler"), [*NOISE.items(), *FLOW.items()])
def test_the_second_order_is_that_of_diffusers(name: str, sampler: Sampler) -> None:
    order = getattr(diffusers, sampler.scheduler).order
    assert order == (2 if name in SECOND_ORDER else 1)


def test_the_page_of_prompts_lists_them_all() -> None:
    page = (Path(__file__).parents[3] / "docs" / "prompts.md").read_text(encoding="utf-8")
    assert f"| {', '.join(NOISE)} |" in page
    assert f"| {', '.join(FLOW)} |" in page
