"""Linear layers that multiply in eight bits (W8A8): weights in int8 or fp8 with a scale a row, inputs quantised when they come."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from engine.diffusion.memory.estimate import CHUNK

FORMATS = ("int8", "fp8")

LEAST_SIDE = 1024
"""Inputs and outputs that a layer needs at least. Quantising takes time by inputs plus outputs, and the product saves time
by inputs times outputs: smaller layers gain nothing.
"""

LEAST_ROWS = 32
"""Rows below which a layer computes in the format of its input; ``torch._int_mm`` needs more than 16 on CUDA."""

_MULTIPLE = 16
"""Inputs and outputs must be multiples of this: ``torch._scaled_mm`` takes no others, and ``torch._int_mm`` multiples of 8."""

_INT8, _FP8 = 127.0, 448.0
"""Largest numbers of int8 (symmetric) and of float8_e4m3fn."""

_APART = re.compile(
    r"adaln|modulation|norm|emb|time|guidance|(?:^|[._])mod(?:[._]|$)|attentions\.\d+\.proj_(?:in|out)$", re.IGNORECASE
)
"""Layers that compute in the format of their input: those that scale and shift a whole picture, and a UNet's projections
into and out of its attention. An error of theirs changes every position in the same direction.
"""


class W8A8Linear(nn.Linear):
    """A linear layer whose weight is in eight bits, and whose inputs are quantised with a scale a row.

    Layers become one in place (``convert``), so that hooks stay on them. NaN and infinite inputs give rows that are not
    finite.

    Attributes:
        form: ``int8`` or ``fp8``.
        weight: (outputs, inputs), int8; for fp8 its bits as uint8, so that no cast of the model's dtype changes them.
        scale: (outputs, 1), float32. It is a buffer, so that it does not count as the model's dtype.
        by_row: See ``scales_rows``.
    """

    form: str
    scale: Tensor
    by_row: bool

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in nn.Linear
        """Return (..., outputs) for (..., inputs)."""
        rows = input.reshape(-1, self.in_features)
        if len(rows) < LEAST_ROWS:
            made = F.linear(rows, self.dequantised(input.dtype), self.bias)
        else:
            made = product(rows, self.stored, self.scale, self.bias, by_row=self.by_row)
        return made.view(*input.shape[:-1], self.out_features)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Move the layer; a cast of the model's dtype leaves the scale in float32."""
        scale = self.scale
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call] # PyTorch's own method
        if self.scale.dtype != scale.dtype:
            self.scale = scale.to(self.weight.device)
        return self

    @property
    def stored(self) -> Tensor:
        """The weight, (outputs, inputs), in int8 or float8_e4m3fn."""
        return self.weight.view(torch.float8_e4m3fn) if self.form == "fp8" else self.weight

    def dequantised(self, dtype: torch.dtype) -> Tensor:
        """Return the weight, (outputs, inputs), in a floating dtype."""
        return _dequantised(self.stored, self.scale, dtype)


def convert(part: nn.Module, form: str, device: torch.device, least_side: int | None = None) -> int:
    """Let a denoiser's large layers multiply in eight bits; return how many do.

    Args:
        part: The denoiser on the CPU, as it was loaded. Weights that torchao keeps in int8 are taken as they are.
        form: ``int8`` or ``fp8``.
        device: The device that computes.
        least_side: Inputs and outputs that a layer needs at least; None: ``LEAST_SIDE``.
    """
    by_row = form == "fp8" and scales_rows(device)
    found = [layer for _, layer in convertible(part, least_side)]
    for layer in found:
        convert_layer(layer, form, by_row=by_row)
    return len(found)


def convertible(part: nn.Module, least_side: int | None = None) -> Iterator[tuple[str, nn.Linear]]:
    """Yield the layers of a denoiser that multiply in eight bits, with their names.

    They are the large linear layers of its repeated blocks. The first and the last projections are outside of these, and
    the layers of ``_APART`` are left out.
    """
    least = LEAST_SIDE if least_side is None else least_side
    blocks = tuple(f"{name}." for name, module in part.named_modules() if isinstance(module, nn.ModuleList))
    for name, layer in part.named_modules():
        if type(layer) is not nn.Linear or not name.startswith(blocks) or _APART.search(name):
            continue
        sides = layer.in_features, layer.out_features
        if min(sides) >= least and not any(side % _MULTIPLE for side in sides):
            yield name, layer


def convert_layer(layer: nn.Linear, form: str, *, by_row: bool) -> None:
    """Let one layer multiply in eight bits, with the arguments of ``convert``.

    ``by_row``: See ``scales_rows``.
    """
    weight: Any = layer.weight.detach()
    if form == "int8" and type(weight).__name__ == "Int8Tensor":  # torchao's, with a scale a row
        stored, scale = weight.qdata, weight.scale
    else:
        stored, scale = quantised(weight, form)
    layer.__class__ = W8A8Linear
    assert isinstance(layer, W8A8Linear)
    layer.form, layer.by_row = form, by_row
    layer.weight = nn.Parameter(stored.view(torch.uint8) if form == "fp8" else stored, requires_grad=False)
    layer.register_buffer("scale", scale.float().reshape(-1, 1), persistent=False)


def quantised(rows: Tensor, form: str) -> tuple[Tensor, Tensor]:
    """Return rows in int8 or float8_e4m3fn, and the scale of each, (rows, 1) in float32.

    They lie row by row in memory whatever the order of the input is: a card multiplies in eight bits in this order only.

    Args:
        rows: (rows, columns), in any floating dtype.
        form: ``int8`` or ``fp8``.
    """
    most = torch.linalg.vector_norm(rows, float("inf"), dim=-1, keepdim=True, dtype=torch.float32)
    scale = (most / (_INT8 if form == "int8" else _FP8)).clamp_min(torch.finfo(torch.float32).tiny)
    factor = scale.reciprocal()
    if torch.compiler.is_compiling():
        scaled = rows.float().contiguous() * factor
    else:
        # Eleven bits are enough before rounding, and are half the memory of float32.
        scaled = torch.mul(rows, factor, out=rows.new_empty(rows.shape, dtype=torch.float16))
    if form == "int8":
        return scaled.round_().to(torch.int8), scale
    return scaled.to(torch.float8_e4m3fn), scale


def product(rows: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None, *, by_row: bool) -> Tensor:
    """Return ``rows @ weight.T + bias`` in the dtype of the rows, multiplied in eight bits.

    Args:
        rows: (rows, inputs), floating.
        weight: (outputs, inputs), int8 or float8_e4m3fn.
        scale: (outputs, 1), float32.
        bias: (outputs,) or None.
        by_row: See ``scales_rows``.
    """
    most = max(LEAST_ROWS, CHUNK // max(weight.shape))
    if len(rows) <= most:
        return _product(rows, weight, scale, bias, by_row=by_row)
    found = rows.new_empty(len(rows), len(weight))
    start = 0
    while start < len(rows):
        # What is left over goes with the last piece, which would have too few rows otherwise.
        end = len(rows) if len(rows) - start < most + LEAST_ROWS else start + most
        found[start:end] = _product(rows[start:end], weight, scale, bias, by_row=by_row)
        start = end
    return found


def _product(rows: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None, *, by_row: bool) -> Tensor:
    if weight.dtype == torch.int8:
        inputs, factors = quantised(rows, "int8")
        return _rescaled(torch._int_mm(inputs, weight.t()), factors, scale, bias, rows.dtype)  # noqa: SLF001
    inputs, factors = quantised(rows, "fp8")
    if by_row:
        found = torch._scaled_mm(  # noqa: SLF001
            inputs, weight.t(), factors, scale.t(), out_dtype=torch.bfloat16, use_fast_accum=True
        )
        return (found if bias is None else found + bias).to(rows.dtype)
    one = torch.ones((), device=rows.device)
    sums = torch._scaled_mm(inputs, weight.t(), one, one, out_dtype=torch.float32, use_fast_accum=True)  # noqa: SLF001
    return _rescaled(sums, factors, scale, bias, rows.dtype)


def _rescaled(sums: Tensor, factors: Tensor, scale: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Return sums of products times the scales of rows and columns, plus the bias. Sums do not fit fp16 before that."""
    found = sums * factors
    if torch.compiler.is_compiling():
        return (found * scale.t() if bias is None else torch.addcmul(bias.float(), found, scale.t())).to(dtype)
    out = torch.empty_like(found, dtype=dtype)
    if bias is None:
        return torch.mul(found, scale.t(), out=out)
    return torch.addcmul(bias.float(), found, scale.t(), out=out)


def _dequantised(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    if weight.dtype == torch.int8 and not torch.compiler.is_compiling():
        return torch.mul(weight, scale, out=torch.empty_like(weight, dtype=dtype))
    return (weight.float() * scale).to(dtype)


def abilities(name: str, capability: tuple[int, int], *, rocm: bool) -> frozenset[str]:
    """Return the formats in which a card multiplies faster than in fp16, by its compute capability.

    int8 came with Turing's tensor cores (7.5), which its GTX cards do not have, fp8 with Ada's (8.9). For AMD's cards
    PyTorch reports compute capabilities with another meaning, so none is returned.
    """
    if rocm or "GTX" in name:
        return frozenset()
    return frozenset(form for form, least in (("int8", (7, 5)), ("fp8", (8, 9))) if capability >= least)


@cache
def multiplies(form: str, device: torch.device) -> bool:
    """Whether a product in eight bits runs on a device, and its result is right."""
    generator = torch.Generator().manual_seed(0)
    rows, weight = (torch.randn(n, 64, generator=generator).to(device, torch.float16) for n in (2 * LEAST_ROWS, 64))
    exact = rows.float() @ weight.float().T
    try:
        stored, scale = quantised(weight, form)
        found = product(rows, stored, scale, None, by_row=scales_rows(device)).float()
        return float((found - exact).norm() / exact.norm()) < _OFF
    except torch.AcceleratorError:
        raise
    except _MISSING:
        return False


_MISSING = (RuntimeError, TypeError, ValueError, NotImplementedError, AttributeError)
"""What PyTorch raises where a device, or a version of it, does not have a product."""

_OFF = 0.1
"""Relative error that a product in eight bits stays below; fp8 has about 0.04."""


@cache
def scales_rows(device: torch.device) -> bool:
    """Whether ``torch._scaled_mm`` takes a scale for each row on a device, which spares passes over the result.

    It depends on the card, on CUDA and on PyTorch, so it is tried.
    """
    rows = torch.ones(LEAST_ROWS, 64, device=device).to(torch.float8_e4m3fn)
    two = torch.full((LEAST_ROWS, 1), 2.0, device=device)
    try:
        made = torch._scaled_mm(rows, rows.t(), two, two.t(), out_dtype=torch.bfloat16)  # noqa: SLF001
        return bool((made == 4 * 64).all())
    except torch.AcceleratorError:
        raise
    except _MISSING:
        return False
