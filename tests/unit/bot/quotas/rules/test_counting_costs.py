"""What a picture costs: pixels, steps and model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.quotas.rules.counting import cost_each
from engine.catalogue import demo
from engine.contract import Profile
from engine.families.registry import known_models
from engine.families.z_image.spec import z_image_turbo
from tests.fakes.job_rows import REQUEST

PROFILES = {spec.profile.name: spec.profile for spec in known_models()}


def cost(profile: Profile, width: int, height: int, steps: int) -> int:
    return cost_each(replace(REQUEST, width=width, height=height, steps=steps, model=profile.name), profile)


def test_a_usual_picture_costs_a_point() -> None:
    assert cost(z_image_turbo(), 1024, 1024, 8) == 1000
    assert cost(demo(), 192, 192, 8) == 1000
    assert cost_each(REQUEST, None) == 1000


@pytest.mark.parametrize(
    ("width", "height", "steps", "expected"), [(2048, 2048, 8, 4000), (512, 512, 8, 250), (1024, 1024, 16, 2000)]
)
def test_it_follows_pixels_and_steps(width: int, height: int, steps: int, expected: int) -> None:
    assert cost(z_image_turbo(), width, height, steps) == expected


def test_it_follows_the_model() -> None:
    costs = {name: p.cost for name, p in PROFILES.items()}
    assert costs["z-image"] == pytest.approx(28 / 8 * 2)
    assert costs["sdxl"] == pytest.approx(2_567_463_684 / 6_154_908_736 * 30 / 8 * 2)
    assert costs["sd15"] < 0.25 < costs["z-image-turbo"] < costs["sdxl"] < costs["z-image"]
    sdxl = PROFILES["sdxl"]
    assert cost(sdxl, 1024, 1024, 30) == round(1000 * sdxl.cost)


def test_nothing_is_for_nothing() -> None:
    assert cost(replace(demo(), cost=1e-9), 64, 64, 1) == 1
