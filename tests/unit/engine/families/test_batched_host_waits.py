"""A step never makes the host wait for the device: nothing is copied to or from it, and no value of it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from engine.contract import Recipe
from engine.diffusion.assemble import assemble
from engine.diffusion.files import Files
from engine.families.batched import BatchedFamily
from engine.families.denoise_state import DenoiseState, Embedding
from engine.families.registry import model_class
from engine.folders import profile_of
from tests.fakes import models
from tests.fakes.host_waits import DEVICE, HostWaits

pytestmark = pytest.mark.slow

WIDTHS: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "sd15": ((77, 32),),
    "sdxl": ((77, 96), (48,)),
    "z_image": ((37, 32),),
}
"""Shapes of the tensors of an embedding, by family."""


def test_the_counter_counts() -> None:
    with HostWaits() as waits:
        here, there = torch.arange(3.0), torch.arange(3.0, device=DEVICE)
        assert float((here * 2).sum()) == 6.0, "the host's tensors are real"
        assert there[1].shape == (here[1] * there)[0].shape
        here.to(DEVICE, non_blocking=True)
        assert waits.found == []
        there.cpu()
        torch.tensor([1.0, 2.0], device=DEVICE)
        assert bool(there[0])
        assert there[there > 1].dim()
        there[0].item()
        there.copy_(here)
    copy = "copy from cpu to meta"
    assert waits.found == ["copy from meta to cpu", copy, "_local_scalar_dense", "index", "_local_scalar_dense", copy]


@pytest.fixture(scope="module", params=list(WIDTHS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def family(name: str, tmp_path_factory: pytest.TempPathFactory) -> BatchedFamily:
    folder = models.SMALL[name](tmp_path_factory.mktemp("models") / name)
    pipe = assemble(Files(name, folder), profile_of(folder), torch.float32)
    found: BatchedFamily = model_class(name)(pipe, DEVICE)
    found.denoiser.to(DEVICE)
    return found


def begun(family: BatchedFamily, name: str, **more: Any) -> DenoiseState:
    """Return a picture whose embeddings are on the device."""
    guidance = float(more.pop("guidance", 0.0))
    tensors = tuple(torch.zeros(shape, device=DEVICE) for shape in WIDTHS[name])
    negative = Embedding(tensors) if family.guided(guidance) else None
    recipe = Recipe("a", "small", "a cat", "a dog", 64, 48, 4, guidance, 5, **more)
    return family.begin(recipe, Embedding(tensors), negative)


def waits_of(family: BatchedFamily, *states: DenoiseState) -> list[str]:
    """Return the waits of all steps but the first, in which models make tables that stay."""
    family.step(states)
    with HostWaits() as waits:
        while not states[0].finished:
            family.step(states)
    assert states[0].latents.device == DEVICE
    return waits.found


@pytest.mark.parametrize("guidance", [0.0, 5.0])
@pytest.mark.parametrize("together", [1, 3])
def test_a_step_does_not_wait(family: BatchedFamily, name: str, guidance: float, together: int) -> None:
    with HostWaits() as waits:
        states = [begun(family, name, guidance=guidance) for _ in range(together)]
    assert waits.found, "noise and timesteps are copied to the device"
    assert waits_of(family, *states) == []


@pytest.mark.filterwarnings("ignore:__array_wrap__")  # diffusers' own, with NumPy 2
def test_what_waits_with_other_samplers(family: BatchedFamily, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(family, "forward", lambda inputs, *_: torch.cat(list(inputs)))
    found = {s: len(waits_of(family, begun(family, name, sampler=s))) for s in family.spec.samplers}
    # Noise is made on the processor whatever the device, and UniPC puts its coefficients on the device.
    noisy = {sampler for sampler in found if sampler.endswith((" a", " a Karras", "SDE", "SDE Karras", "LCM"))}
    assert {sampler for sampler, waits in found.items() if waits} == noisy | {"UniPC"}
