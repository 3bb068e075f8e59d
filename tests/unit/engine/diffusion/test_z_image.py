"""The demo model through its family: rows that leave, guidance, and what both do to those that stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from engine.catalogue import demo
from engine.diffusion.families.base import Plan
from engine.diffusion.families.z_image import ZImage

pytestmark = pytest.mark.slow

SEEDS = (5, 6, 7)


@pytest.fixture(scope="module")
def model() -> ZImage:
    return ZImage(demo().source, torch.device("cpu"), torch.float32)


def plan(model: ZImage, seeds: Sequence[int] = SEEDS, guidance: float = 0.0, steps: int = 4) -> Plan:
    red = model.encode("a red apple")
    return Plan([red] * len(seeds), [model.encode("")] * len(seeds) if guidance else [], seeds, 64, 64, steps, guidance)


def all_stay(_: int) -> Sequence[int]:
    return range(len(SEEDS))


def counting(model: ZImage, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record how many latents the transformer is given at each step."""
    counts: list[int] = []
    forward: Callable[..., object] = model._pipe.transformer.forward

    def counted(latents: list[Tensor], *args: object, **kwargs: object) -> object:
        counts.append(len(latents))
        return forward(latents, *args, **kwargs)

    monkeypatch.setattr(model._pipe.transformer, "forward", counted)
    return counts


@pytest.mark.parametrize(("guidance", "each"), [(0.0, 1), (3.0, 2)])
def test_who_leaves_is_drawn_no_further_and_the_others_as_if_nothing_had_been(
    model: ZImage, monkeypatch: pytest.MonkeyPatch, guidance: float, each: int
) -> None:
    whole = model.denoise(plan(model, guidance=guidance), all_stay)
    counts = counting(model, monkeypatch)
    rest = model.denoise(plan(model, guidance=guidance), lambda step: [0, 1, 2] if step == 1 else [0, 2])
    assert counts == [3 * each, 3 * each, 2 * each, 2 * each]
    assert set(rest) == {0, 2}
    for row, latents in rest.items():
        torch.testing.assert_close(latents, whole[row], atol=1e-3, rtol=1e-3)


def test_when_all_leave_the_drawing_ends(model: ZImage, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = counting(model, monkeypatch)
    assert model.denoise(plan(model), lambda step: [0, 1, 2] if step == 1 else []) == {}
    assert counts == [3, 3]


def test_leaving_after_the_last_step_is_leaving(model: ZImage) -> None:
    assert set(model.denoise(plan(model), lambda step: [1] if step == 4 else [0, 1, 2])) == {1}


def test_steps_are_counted_through(model: ZImage) -> None:
    heard: list[int] = []

    def after_step(step: int) -> Sequence[int]:
        heard.append(step)
        return list(range(max(1, 3 - step)))

    model.denoise(plan(model), after_step)
    assert heard == [1, 2, 3, 4]


def test_latents_and_pictures_have_their_shapes(model: ZImage) -> None:
    (latents,) = model.denoise(plan(model, [9], steps=1), lambda _: [0]).values()
    assert latents.shape == (1, 16, 8, 8)
    pixels = model.decode(latents)
    assert pixels.shape == (64, 64, 3)


@pytest.mark.parametrize("prompt", ["", "猫" * 2000, "a " * 1000, "\x00\n\t🦊"])
def test_any_text_is_a_prompt(model: ZImage, prompt: str) -> None:
    embedding = model.encode(prompt)
    assert 0 < embedding.shape[0] <= 512
    one = Plan([embedding], [], [1], 64, 64, 1, 0.0)
    assert torch.isfinite(model.denoise(one, lambda _: [0])[0]).all()
