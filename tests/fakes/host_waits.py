"""Counts where the host would wait for a device. Tensors on ``meta``, which have no values, stand for those of a card.

A copy to the device is not waited for where it is asked not to block and starts from memory that ``HostWaits.pin`` gave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = torch.device("meta")

_VALUES = (
    "_local_scalar_dense",
    "_linalg_check_errors",
    "nonzero",
    "masked_select",
    "equal",
    "_unique2",
    "unique_dim",
    "bincount",
)
"""Operations whose result, or its size, the host has to know."""


class HostWaits(TorchDispatchMode):
    """Inside of it, waits are counted. The host's tensors are computed with as always.

    Attributes:
        found: The operations that made the host wait, in order.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []
        self._pinned: dict[int, Tensor] = {}  # by address, kept so that it is not given again
        self._numbers = _Numbers(self.found)

    def pin(self, tensor: Tensor) -> Tensor:
        """Stand for ``Tensor.pin_memory``."""
        copied = tensor.clone()
        self._pinned[copied.data_ptr()] = copied
        return copied

    def __enter__(self) -> HostWaits:
        """Count from now on."""
        self._numbers.__enter__()  # type: ignore[no-untyped-call]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        """Count no longer."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._numbers.__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operation. A copy to the host has zeros, and a value that the host reads is 1."""
        kwargs = kwargs or {}
        name = str(func.overloadpacket.__name__)
        wait, result = _wait(name, args, kwargs, self._pinned)
        if wait:
            self.found.append(wait)
        return func(*args, **kwargs) if result is None else result


class _Numbers(TorchFunctionMode):
    """Counts tensors that are made of the host's numbers, which no operation shows on ``meta``."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one function."""
        made = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.as_tensor, Tensor.new_tensor) and made.device == DEVICE:
            self._found.append("copy from cpu to meta")
        return made


def _wait(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], pinned: Mapping[int, Tensor]) -> tuple[str, Any]:
    """Return what makes the host wait, empty if nothing does, and its result if ``meta`` has none."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    if not tensors:
        return "", None
    first = tensors[0]
    if name in _VALUES and first.device == DEVICE:
        one = 1.0 if first.is_floating_point() else 1
        return name, one if name == "_local_scalar_dense" else torch.zeros(1, 1, dtype=torch.int64, device=DEVICE)
    masks = [i for i in args[1] if i is not None] if name in ("index", "index_put", "index_put_") else []
    if first.device == DEVICE and any(i.dtype is torch.bool for i in masks):
        return name, first  # the number of elements decides the size
    if name == "_to_copy":
        target = torch.device(kwargs.get("device") or first.device)
        pinned_there = target == DEVICE and kwargs.get("non_blocking") and first.data_ptr() in pinned
        if target.type == first.device.type or pinned_there:
            return "", None
        back = torch.zeros(first.shape, dtype=kwargs.get("dtype") or first.dtype) if target != DEVICE else None
        return f"copy from {first.device.type} to {target.type}", back
    if name == "copy_" and first.device != tensors[1].device:
        asked = kwargs.get("non_blocking") or args[2:3] == (True,)
        blocking = not (asked and first.device == DEVICE and tensors[1].data_ptr() in pinned)
        return f"copy from {tensors[1].device.type} to {first.device.type}" if blocking else "", None
    return "", None
