"""Copies from main memory to a GPU that do not make the host wait, also inside libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class NonBlockingCopies(TorchFunctionMode):
    """Inside of it, copies from main memory to the device start from page-locked memory and are not waited for.

    diffusers' schedulers copy noise and coefficients to the device in each step. A plain copy is begun only when the
    device has done all that was queued before. PyTorch keeps page-locked memory until the copy has ended, and then gives
    it to the next one.

    Args:
        pin: Returns a tensor's copy in page-locked memory.
    """

    def __init__(self, pin: Callable[[Tensor], Tensor] = Tensor.pin_memory) -> None:
        super().__init__()
        self._pin = pin

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one function."""
        kwargs = kwargs or {}
        if func is Tensor.to and args[0].device.type == "cpu" and _leaves_the_host((*args[1:], *kwargs.values())):
            return func(self._pin(args[0]), *args[1:], **{**kwargs, "non_blocking": True})
        if func is torch.linalg.solve:
            # UniPC's system of two equations; the plain call reads from the device whether it could be solved.
            return torch.linalg.solve_ex(*args, **kwargs).result
        return func(*args, **kwargs)


def copies_for(device: torch.device) -> AbstractContextManager[object]:
    """Return what a device's copies are made in: NonBlockingCopies on CUDA, and nothing elsewhere."""
    return NonBlockingCopies() if device.type == "cuda" else nullcontext()


def _leaves_the_host(given: Iterable[Any]) -> bool:
    """Whether the arguments of ``Tensor.to`` name a device other than the CPU."""
    for value in given:
        if isinstance(value, Tensor):
            return value.device.type != "cpu"
        if isinstance(value, torch.device | str):
            return torch.device(value).type != "cpu"
    return False
