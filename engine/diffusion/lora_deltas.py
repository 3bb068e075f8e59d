"""What a LoRA adds to the weight of one layer, in each form that trainers publish, and how the layer's output changes.

A layer is never changed: its delta is computed from the layer's input and added to its output, so that quantised layers
and layers in main memory take every form as well. Shapes are (outputs, inputs) for linear layers and (outputs, inputs,
height, width) for convolutions.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # its usual name

_SHARE = 2
"""A product of two low ranks is computed as one low rank up to this fraction (one in two) of the layer's sides."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """The shape of a layer's weight, and how a convolution moves.

    Attributes:
        shape: (outputs, inputs), and the kernel's height and width for a convolution.
        moves: ``stride``, ``padding`` and ``dilation`` of a convolution.
    """

    shape: tuple[int, ...]
    moves: tuple[Any, ...] = ()

    @property
    def kernel(self) -> tuple[int, ...]:
        """Height and width of the kernel; empty for a linear layer."""
        return self.shape[2:]


def geometry(module: nn.Module) -> Geometry | None:
    """Return a layer's geometry; None where no delta can be added to it."""
    # A quantised weight has another shape than the layer.
    if isinstance(module, nn.Linear):
        return Geometry((module.out_features, module.in_features))
    if isinstance(module, nn.Conv2d) and module.groups == 1 and module.padding_mode == "zeros":
        shape = (module.out_channels, module.in_channels, *module.kernel_size)
        return Geometry(shape, (module.stride, module.padding, module.dilation))
    return None


class Delta(ABC):
    """A matrix or kernel that is added to a layer's weight. Its factors are in any floating dtype."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @abstractmethod
    def dense(self) -> Tensor:
        """Return all of it in float32."""

    @abstractmethod
    def times(self, factor: float) -> Delta:
        """Return it multiplied by a factor, in float32."""

    @abstractmethod
    def rows(self, start: int, stop: int) -> Delta:
        """Return the delta of some of the outputs."""

    @abstractmethod
    def apply(self, x: Tensor, layer: Geometry) -> Tensor:
        """Return what it adds to a layer's output for the input ``x``, in whose dtype and device its factors are."""

    def to(self, like: Tensor) -> Self:
        """Return it in the dtype and on the device of a tensor."""
        return self._mapped(lambda tensor: tensor.to(like))

    @property
    def nbytes(self) -> int:
        """Bytes of its factors."""
        return sum(tensor.nbytes for tensor in _tensors(self))

    def _mapped(self, change: Any) -> Self:
        changed = {}
        for each in fields(self):  # type: ignore[arg-type] # every subclass is a dataclass
            value = getattr(self, each.name)
            if isinstance(value, Tensor):
                changed[each.name] = change(value)
            elif isinstance(value, tuple) and value and isinstance(value[0], Tensor):
                changed[each.name] = tuple(change(tensor) for tensor in value)
        return replace(self, **changed)  # type: ignore[type-var]


def _tensors(delta: Delta) -> list[Tensor]:
    found: list[Tensor] = []
    for each in fields(delta):  # type: ignore[arg-type] # see above
        value = getattr(delta, each.name)
        found += [one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, Tensor)]
    return found


@dataclass(frozen=True, slots=True)
class LowRank(Delta):
    """LoRA and LoCon: up @ down (arXiv 2106.09685).

    Attributes:
        down: (rank, inputs), or (rank, inputs, height, width) for a convolution, whose kernel is 1x1 with ``mid``.
        up: (outputs, rank).
        mid: (rank, rank, height, width): Tucker decomposition of a convolution (LyCORIS calls it CP).
    """

    down: Tensor
    up: Tensor
    mid: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """See Delta."""
        kernel = self.down.shape[2:] if self.mid is None else self.mid.shape[2:]
        return (self.up.shape[0], self.down.shape[1], *kernel)

    def dense(self) -> Tensor:
        """See Delta."""
        down, up = self.down.float(), self.up.float()
        if self.mid is None:
            return (up @ down.flatten(1)).reshape(self.shape)
        return torch.einsum("om,mnhw,ni->oihw", up, self.mid.float(), down.flatten(1))

    def times(self, factor: float) -> LowRank:
        """See Delta."""
        # Two factors of similar size, the second a power of two, so that fp16 loses little.
        more = 2.0 ** round(math.log2(abs(factor)) / 2) if factor else 1.0
        return replace(self, down=self.down.float() * (factor / more), up=self.up.float() * more)

    def rows(self, start: int, stop: int) -> LowRank:
        """See Delta."""
        return replace(self, up=self.up[start:stop])

    def apply(self, x: Tensor, layer: Geometry) -> Tensor:
        """See Delta."""
        if not layer.kernel:
            return F.linear(F.linear(x, self.down), self.up)
        if self.mid is None:
            narrow = F.conv2d(x, self.down, None, *layer.moves)
        else:
            narrow = F.conv2d(F.conv2d(x, self.down), self.mid, None, *layer.moves)
        return F.conv2d(narrow, self.up[:, :, None, None])


@dataclass(frozen=True, slots=True)
class Hadamard(Delta):
    """LoHa: the elementwise product of two low-rank matrices (FedPara, arXiv 2108.06098).

    Attributes:
        first: (outputs, rank) and (rank, inputs x height x width); with ``cores`` (rank, outputs) and (rank, inputs).
        second: The other matrix's factors, with the same shapes.
        kernel: Height and width of the kernel; empty for a linear layer.
        cores: (rank, rank, height, width) of each factor: Tucker decomposition of a convolution.
    """

    first: tuple[Tensor, Tensor]
    second: tuple[Tensor, Tensor]
    kernel: tuple[int, ...] = ()
    cores: tuple[Tensor, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """See Delta."""
        outer, inner = self.first
        if self.cores:
            return (outer.shape[1], inner.shape[1], *self.cores[0].shape[2:])
        return (outer.shape[0], inner.shape[1] // math.prod(self.kernel), *self.kernel)

    def dense(self) -> Tensor:
        """See Delta."""
        pairs = (self.first, self.second)
        if self.cores:
            wholes = [_tucker(core, *pair) for core, pair in zip(self.cores, pairs, strict=True)]
        else:
            wholes = [outer.float() @ inner.float() for outer, inner in pairs]
        return (wholes[0] * wholes[1]).reshape(self.shape)

    def times(self, factor: float) -> Delta:
        """See Delta."""
        outer, inner = self.first
        scaled = replace(self, first=(outer.float() * factor, inner))
        rank = inner.shape[0] * self.second[1].shape[0]
        if self.cores or rank * _SHARE > min(self.shape[0], math.prod(self.shape[1:])):
            return scaled
        # Rows of one factor times rows of the other: the same matrix as one product of a low rank.
        (a, b), (c, d) = ((o.float(), i.float()) for o, i in (scaled.first, scaled.second))
        up = (a[:, :, None] * c[:, None, :]).flatten(1)
        down = (b[:, None, :] * d[None, :, :]).flatten(0, 1)
        return LowRank(down.reshape(rank, self.shape[1], *self.kernel), up)

    def rows(self, start: int, stop: int) -> Hadamard:
        """See Delta."""

        def some(outer: Tensor, inner: Tensor) -> tuple[Tensor, Tensor]:
            return (outer[:, start:stop] if self.cores else outer[start:stop]), inner

        return replace(self, first=some(*self.first), second=some(*self.second))

    def apply(self, x: Tensor, layer: Geometry) -> Tensor:
        """See Delta."""
        return _multiply(x, self.dense().to(x), layer)


@dataclass(frozen=True, slots=True)
class Kronecker(Delta):
    """LoKr: the Kronecker product of two factors, each whole or the product of two matrices (LyCORIS, arXiv 2309.14859).

    Attributes:
        left: (a, b), or two matrices whose product it is.
        right: (c, d) or (c, d, height, width), or two matrices. Outputs are a x c, inputs b x d.
        kernel: Height and width of the kernel; empty for a linear layer.
        core: (rank, rank, height, width): ``right`` is then (rank, c) and (rank, d), a Tucker decomposition.
    """

    left: tuple[Tensor, ...]
    right: tuple[Tensor, ...]
    kernel: tuple[int, ...] = ()
    core: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """See Delta."""
        a, b = self.left[0].shape[0], self.left[-1].shape[1]
        if self.core is not None:
            c, d = self.right[0].shape[1], self.right[1].shape[1]
        else:
            c, d = self.right[0].shape[0], self.right[-1].shape[1]
            d = d // math.prod(self.kernel) if len(self.right) > 1 else d
        return (a * c, b * d, *self.kernel)

    def _factors(self) -> tuple[Tensor, Tensor]:
        left = _product(self.left)
        a, b = left.shape
        if self.core is not None:
            return left, _tucker(self.core, *self.right)
        c, d = self.shape[0] // a, self.shape[1] // b
        return left, _product(self.right).reshape(c, d, *self.kernel)

    def dense(self) -> Tensor:
        """See Delta."""
        left, right = (factor.float() for factor in self._factors())
        return torch.kron(left.reshape(*left.shape, *(1 for _ in self.kernel)), right)

    def times(self, factor: float) -> Kronecker:
        """See Delta."""
        first, *rest = self.left
        return replace(self, left=(first.float() * factor, *rest))

    def rows(self, start: int, stop: int) -> Delta:
        """See Delta."""
        each = self.shape[0] // self.left[0].shape[0]
        if start % each or stop % each:
            return Full(self.dense()[start:stop])
        first, *rest = self.left
        return replace(self, left=(first[start // each : stop // each], *rest))

    def apply(self, x: Tensor, layer: Geometry) -> Tensor:
        """See Delta."""
        left = _product(self.left)
        b = left.shape[1]
        if not layer.kernel:
            wide = x.reshape(*x.shape[:-1], b, -1)
            for factor in reversed(self.right):
                wide = F.linear(wide, factor)
            return torch.matmul(left, wide).flatten(-2)
        count, _, height, width = x.shape
        _, right = self._factors()
        moved = F.conv2d(x.reshape(count * b, -1, height, width), right.to(x), None, *layer.moves)
        moved = moved.reshape(count, b, *moved.shape[1:])
        return torch.einsum("ab,nbchw->nachw", left, moved).flatten(1, 2)


@dataclass(frozen=True, slots=True)
class Full(Delta):
    """A difference of the whole weight (LyCORIS "full")."""

    weight: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """See Delta."""
        return tuple(self.weight.shape)

    def dense(self) -> Tensor:
        """See Delta."""
        return self.weight.float()

    def times(self, factor: float) -> Full:
        """See Delta."""
        return Full(self.weight.float() * factor)

    def rows(self, start: int, stop: int) -> Full:
        """See Delta."""
        return Full(self.weight[start:stop])

    def apply(self, x: Tensor, layer: Geometry) -> Tensor:
        """See Delta."""
        return _multiply(x, self.weight, layer)


@dataclass(frozen=True, slots=True)
class Gained(Delta):
    """Another delta with a factor for each output or each input, as DoRA needs.

    Attributes:
        inner: The other delta.
        outputs: (outputs,); None: 1.
        inputs: (inputs,); None: 1.
    """

    inner: Delta
    outputs: Tensor | None = None
    inputs: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """See Delta."""
        return self.inner.shape

    def dense(self) -> Tensor:
        """See Delta."""
        found = self.inner.dense()
        sides = found.dim()
        if self.outputs is not None:
            found = found * self.outputs.reshape(-1, *(1 for _ in range(sides - 1)))
        return found if self.inputs is None else found * self.inputs.reshape(1, -1, *(1 for _ in range(sides - 2)))

    def times(self, factor: float) -> Delta:
        """See Delta."""
        inner = self.inner.times(factor)
        if not isinstance(inner, LowRank):
            return replace(self, inner=inner)
        down, up = inner.down, inner.up
        if self.inputs is not None:
            down = down * self.inputs.reshape(1, -1, *(1 for _ in down.shape[2:]))
        return LowRank(down, up if self.outputs is None else up * self.outputs[:, None], inner.mid)

    def rows(self, start: int, stop: int) -> Gained:
        """See Delta."""
        return replace(
            self,
            inner=self.inner.rows(start, stop),
            outputs=None if self.outputs is None else self.outputs[start:stop],
        )

    def apply(self, x: Tensor, layer: Geometry) -> Tensor:
        """See Delta."""
        y = self.inner.apply(x if self.inputs is None else x * spread(self.inputs, layer), layer)
        return y if self.outputs is None else y * spread(self.outputs, layer)

    def to(self, like: Tensor) -> Gained:
        """See Delta."""
        return Gained(
            self.inner.to(like),
            None if self.outputs is None else self.outputs.to(like),
            None if self.inputs is None else self.inputs.to(like),
        )

    @property
    def nbytes(self) -> int:
        """See Delta."""
        return self.inner.nbytes + sum(t.nbytes for t in (self.outputs, self.inputs) if t is not None)


@dataclass(frozen=True, slots=True)
class LayerDelta:
    """All that one LoRA changes at one layer, at weight 1.

    Attributes:
        delta: Added to the layer's weight, times ``scale``; None: only its bias changes.
        scale: alpha / rank.
        bias: (outputs,), added to the bias; None: nothing.
        magnitude: DoRA (arXiv 2402.09353): norms of the changed weight, (outputs,) or (inputs,); None: no DoRA.
        by_input: Whether ``magnitude`` holds one norm for each input rather than for each output.
    """

    delta: Delta | None
    scale: float = 1.0
    bias: Tensor | None = None
    magnitude: Tensor | None = None
    by_input: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        own = sum(tensor.nbytes for tensor in (self.bias, self.magnitude) if tensor is not None)
        return own + (0 if self.delta is None else self.delta.nbytes)

    def gain(self, weight: Tensor) -> Tensor | None:
        """Return DoRA's factor for each output or input of ``weight + delta``; None without DoRA.

        Args:
            weight: The layer's weight in float32, on the device that computes.
        """
        if self.magnitude is None or self.delta is None:
            return None
        moved = weight + self.delta.to(weight).dense() * self.scale
        sides = [side for side in range(moved.dim()) if side != (1 if self.by_input else 0)]
        norms = torch.linalg.vector_norm(moved, dim=sides)
        found: Tensor = self.magnitude.to(weight) / norms.clamp_min(torch.finfo(torch.float32).tiny)
        return found

    def added(self, weight: float, gain: Tensor | None) -> Delta | None:
        """Return what is computed beside the layer at a weight; None: nothing.

        With DoRA the layer's own output, or its input, is multiplied too: by ``1 + weight * (gain - 1)``.
        """
        if self.delta is None:
            return None
        if gain is None:
            return self.delta.times(weight * self.scale)
        inner, factors = self.delta, gain.cpu()
        both = Gained(inner, None, factors) if self.by_input else Gained(inner, factors, None)
        return both.times(weight * self.scale)

    def merged(self, weight: Tensor, gain: Tensor | None) -> Tensor:
        """Return what is added to a weight in float32; ``gain`` is that of ``gain``."""
        if self.delta is None:
            return torch.zeros_like(weight)
        delta = self.delta.to(weight).dense() * self.scale
        if gain is None:
            return delta
        sides = (1, -1) if self.by_input else (-1,)
        factor = gain.reshape(*sides, *(1 for _ in range(weight.dim() - len(sides))))
        return (weight + delta) * factor - weight


def joined(deltas: Sequence[Delta]) -> list[Delta]:
    """Return deltas with the same sum, those of a low rank as one: two products instead of two for each."""
    plain = [d for d in deltas if isinstance(d, LowRank) and d.mid is None]
    if len(plain) < 2:
        return list(deltas)
    one = LowRank(torch.cat([d.down for d in plain]), torch.cat([d.up for d in plain], 1))
    return [one, *(d for d in deltas if not (isinstance(d, LowRank) and d.mid is None))]


def spread(factors: Tensor, layer: Geometry) -> Tensor:
    """Return a factor for each channel in a shape that multiplies a layer's input or output."""
    return factors.reshape(1, -1, 1, 1) if layer.kernel else factors


def _multiply(x: Tensor, weight: Tensor, layer: Geometry) -> Tensor:
    return F.conv2d(x, weight, None, *layer.moves) if layer.kernel else F.linear(x, weight)


def _product(factors: tuple[Tensor, ...]) -> Tensor:
    return factors[0] if len(factors) == 1 else factors[0] @ factors[1]


def _tucker(core: Tensor, outer: Tensor, inner: Tensor) -> Tensor:
    """Return (outputs, inputs, height, width) from a core and its factors (rank, outputs) and (rank, inputs)."""
    return torch.einsum("ijhw,io,jn->onhw", core.float(), outer.float(), inner.float())
