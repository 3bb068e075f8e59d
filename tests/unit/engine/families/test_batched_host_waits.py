"""A step never makes the host wait for the device: nothing is copied to or from it, and no value of it is read."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.contract import Recipe
from engine.diffusion.assemble import assemble
from engine.diffusion.files import Files
from engine.families.batched import BatchedFamily
from engine.families.denoise_state import DenoiseState, Embedding
from engine.families.nonblocking import NonBlockingCopies
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
        waits.pin(here).to(DEVICE, non_blocking=True)
        assert waits.found == []
        here.to(DEVICE, non_blocking=True)
        waits.pin(here).to(DEVICE)
        assert waits.found == ["copy from cpu to meta"] * 2, "it takes both: the flag, and page-locked memory"
        waits.found.clear()
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
    return made(name, tmp_path_factory.mktemp("models"), DEVICE)


def made(name: str, folder: Path, device: torch.device) -> BatchedFamily:
    small = models.SMALL[name](folder / name)
    pipe = assemble(Files(name, small), profile_of(small), torch.float32)
    found: BatchedFamily = model_class(name)(pipe, device)
    found.denoiser.to(device)
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
        family.copies = NonBlockingCopies(waits.pin)
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
def test_no_sampler_waits(family: BatchedFamily, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise is made on the processor whatever the device, and UniPC puts its coefficients on the device."""
    monkeypatch.setattr(family, "forward", lambda inputs, *_: torch.cat(list(inputs)))
    for sampler in ("", *family.spec.samplers):
        assert waits_of(family, begun(family, name, sampler=sampler)) == [], sampler


@pytest.mark.filterwarnings("ignore:__array_wrap__")
def test_a_mask_does_not_wait(family: BatchedFamily, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(family, "forward", lambda inputs, *_: torch.cat(list(inputs)))
    for sampler in ("", *family.spec.samplers):
        state = begun(family, name, sampler=sampler)
        state.init_latents, state.mask = state.latents, torch.zeros(1, 1, *state.latents.shape[2:], device=DEVICE)
        assert waits_of(family, state) == [], sampler


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M SDE", "UniPC"])
def test_copies_that_do_not_block_change_no_number(sampler: str, tmp_path: Path) -> None:
    """Page-locked memory aside, what is intercepted is the same arithmetic."""
    family = made("sd15", tmp_path, torch.device("cpu"))
    pinned: list[Tensor] = []

    def pin(tensor: Tensor) -> Tensor:
        pinned.append(tensor)
        return tensor.clone()

    found = []
    for copies in (nullcontext(), NonBlockingCopies(pin)):
        family.copies = copies
        tensors = (torch.randn(77, 32, generator=torch.Generator().manual_seed(1)),)
        state = family.begin(
            Recipe("a", "small", "a cat", "", 64, 48, 4, 0.0, 5, sampler=sampler), Embedding(tensors), None
        )
        while not state.finished:
            family.step([state])
        found.append(state.latents)
    assert torch.equal(*found)
    assert pinned == [], "nothing leaves the host here"
