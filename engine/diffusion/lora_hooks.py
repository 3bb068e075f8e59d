"""Computes LoRAs beside the layers of a pipeline: hooks add their deltas, and the weights are never written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from engine.contract import UnknownModel
from engine.diffusion.lora_deltas import Delta, Geometry, LayerDelta, geometry, joined, spread
from engine.diffusion.lora_targets import Place, Targets
from engine.diffusion.loras import Adapter
from engine.diffusion.memory.w8a8 import W8A8Linear


@dataclass(slots=True, eq=False)
class LayerHook:
    """What the LoRAs of a set change at one layer.

    Attributes:
        layer: The layer's geometry.
        deltas: Computed from the layer's input, added to its output.
        bias: (outputs,), added to the output.
        outputs: (outputs,): DoRA's gain - 1, by which the output without its bias is multiplied and added.
        inputs: (inputs,): DoRA's gain - 1, likewise of the input.
        own_bias: The layer's own bias, if ``outputs`` needs it.
    """

    layer: Geometry
    deltas: list[Delta]
    bias: Tensor | None = None
    outputs: Tensor | None = None
    inputs: Tensor | None = None
    own_bias: Tensor | None = None
    _given: Tensor | None = field(init=False, default=None)
    _like: tuple[torch.device, torch.dtype] | None = field(init=False, default=None)

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        own = (self.bias, self.outputs, self.inputs, self.own_bias)
        return sum(d.nbytes for d in self.deltas) + sum(t.nbytes for t in own if t is not None)

    @property
    def changes_input(self) -> bool:
        """Whether the layer needs another input than it is given."""
        return self.inputs is not None and self.outputs is None

    def before(self, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments of the layer."""
        x = given[0]
        self._move(x)
        self._given = x
        assert self.inputs is not None
        return x + x * spread(self.inputs, self.layer), *given[1:]

    def after(self, module: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor:
        """Return the layer's output with the LoRAs of the set."""
        x, self._given = (given[0] if self._given is None else self._given), None
        self._move(x)
        y = output
        if self.outputs is not None:
            pure = y if self.own_bias is None else y - spread(self.own_bias, self.layer)
            y = y + pure * spread(self.outputs, self.layer)
            if self.inputs is not None:
                # DoRAs of both kinds in one set: the layer computes twice.
                more = module.forward(x * spread(self.inputs, self.layer))
                y = y + (more if self.own_bias is None else more - spread(self.own_bias, self.layer))
        for delta in self.deltas:
            y = y + delta.apply(x, self.layer)
        return y if self.bias is None else y + spread(self.bias, self.layer)

    def _move(self, x: Tensor) -> None:
        """Bring the tensors to the input's device and dtype, which may differ from those of the layer's weight."""
        if self._like == (x.device, x.dtype):
            return
        self.deltas = [delta.to(x) for delta in self.deltas]
        self.bias, self.outputs, self.inputs, self.own_bias = (
            None if t is None else t.to(x) for t in (self.bias, self.outputs, self.inputs, self.own_bias)
        )
        self._like = (x.device, x.dtype)


Hooks = Mapping[Place, LayerHook]
"""The hooks of a set of LoRAs by layer."""

Gains = dict[Place, Tensor]
"""DoRA's gains of an adapter by layer; they cost a pass over the weights and are kept with the adapter."""


def hooks_of(adapters: Sequence[tuple[Adapter, Gains, float]], targets: Targets, device: torch.device) -> Hooks:
    """Return the hooks for a set of LoRAs. Every delta is taken from the base weights, so that their order is no matter.

    Args:
        adapters: Each LoRA, its gains, which are filled in here, and its weight.
        targets: The pipeline's layers.
        device: Computes the norms of DoRA.

    Raises:
        UnknownModel: The weight of a layer that DoRA needs can't be read; the message begins in small letters.
    """
    found: dict[Place, LayerHook] = {}
    for place in dict.fromkeys(place for adapter, _, _ in adapters for place in adapter.layers):
        module = targets.module(place)
        layer = geometry(module)
        assert layer is not None
        hook = LayerHook(layer, [])
        for adapter, gains, weight in adapters:
            if (one := adapter.layers.get(place)) is None:
                continue
            gain = None if one.magnitude is None else _gain(place, module, one, gains, device)
            _add(hook, module, one, weight, gain)
        hook.deltas = joined(hook.deltas)
        found[place] = hook
    return found


def _gain(place: Place, module: nn.Module, one: LayerDelta, gains: Gains, device: torch.device) -> Tensor:
    if place not in gains:
        weight = base_weight(module, device)
        if weight is None:
            raise UnknownModel(f"DoRA can't be added to {place[1]}, whose weight can't be read in this number format")
        gain = one.gain(weight)
        assert gain is not None
        gains[place] = gain.cpu()
    return gains[place]


def _add(hook: LayerHook, module: nn.Module, one: LayerDelta, weight: float, gain: Tensor | None) -> None:
    delta = one.added(weight, gain)
    if delta is not None:
        hook.deltas.append(delta)
    if one.bias is not None:
        bias = one.bias.float() * weight
        hook.bias = bias if hook.bias is None else hook.bias + bias
    if gain is None:
        return
    more = (gain - 1) * weight
    if one.by_input:
        hook.inputs = more if hook.inputs is None else hook.inputs + more
    else:
        hook.outputs = more if hook.outputs is None else hook.outputs + more
        hook.own_bias = _own(module, "bias")


@torch.no_grad()
def base_weight(module: nn.Module, device: torch.device) -> Tensor | None:
    """Return a layer's weight in float32 on a device, dequantised; None where it can't be read."""
    layer, weight = geometry(module), _own(module, "weight")
    if layer is None or weight is None:
        return None
    if isinstance(module, W8A8Linear):
        weight = module.dequantised(torch.float32)
    elif type(weight).__name__ == "GGUFParameter":
        # Imports gguf, which is an optional dependency.
        from diffusers.quantizers.gguf.utils import dequantize_gguf_tensor  # noqa: PLC0415

        weight = dequantize_gguf_tensor(weight)
    elif weight.device.type == "meta" or not weight.is_floating_point() or tuple(weight.shape) != layer.shape:
        return _probed(module, layer, device)
    elif hasattr(weight, "dequantize") and type(weight) not in (Tensor, nn.Parameter):
        weight = weight.dequantize()
    return weight.detach().to(device, torch.float32).reshape(layer.shape)


def _own(module: nn.Module, name: str) -> Tensor | None:
    """Return a layer's tensor, also where accelerate keeps it elsewhere until the layer is called."""
    kept = getattr(getattr(module, "_hf_hook", None), "weights_map", None)
    if kept is not None and name in kept:
        found: Tensor = kept[name]
        return found
    value = getattr(module, name, None)
    return value if isinstance(value, Tensor) else None


def _probed(module: nn.Module, layer: Geometry, device: torch.device) -> Tensor | None:
    """Return a linear layer's weight as what it makes of the identity: bitsandbytes' weights have a format of their own."""
    if layer.kernel:
        return None
    dtype = getattr(module, "compute_dtype", None) or torch.float32
    bias = _own(module, "bias")
    made: Tensor = module.forward(torch.eye(layer.shape[1], device=device, dtype=dtype))
    return (made.float() if bias is None else made.float() - bias.to(made).float()).T.contiguous()


def merges(
    adapter: Adapter, targets: Targets, weight: float
) -> Iterator[tuple[nn.Module, Callable[[nn.Module], None]]]:
    """Yield each layer that a LoRA changes, and what adds the LoRA to the layer's weights for good."""
    for place, one in adapter.layers.items():
        yield targets.module(place), partial(_merge, one, weight)


@torch.no_grad()
def _merge(one: LayerDelta, weight: float, module: Any) -> None:
    own = module.weight
    base = own.float()
    gain = one.gain(base)
    own.copy_((base + weight * one.merged(base, gain)).to(own.dtype))
    if one.bias is None:
        return
    bias = one.bias.to(own) * weight
    if module.bias is None:
        module.bias = nn.Parameter(bias, requires_grad=False)
    else:
        module.bias.add_(bias)


class ActiveHooks:
    """The hooks that are on a pipeline. Change them on the thread that draws alone.

    Equal sets follow each other for many steps, so hooks stay on the layers; outside of ``running`` they do nothing.
    """

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._now: Hooks | None = None
        self._handles: list[RemovableHandle] = []
        self._on = False

    def activate(self, hooks: Hooks) -> None:
        """Put these hooks in the place of those that are on the pipeline; an empty mapping removes them."""
        if hooks is self._now:
            return
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for place, hook in hooks.items():
            module = self._targets.module(place)
            if hook.changes_input:
                self._handles.append(module.register_forward_pre_hook(partial(self._before, hook)))
            self._handles.append(module.register_forward_hook(partial(self._after, hook)))
        self._now = hooks

    @contextmanager
    def running(self, hooks: Hooks) -> Iterator[None]:
        """Compute with these hooks inside of the context."""
        self.activate(hooks)
        if not hooks:
            yield
            return
        self._on = True
        try:
            # Code that was compiled before does not call them.
            with torch.compiler.set_stance("force_eager"):
                yield
        finally:
            self._on = False

    def always(self, hooks: Hooks) -> None:
        """Compute with these hooks from now on."""
        self.activate(hooks)
        self._on = True

    def _before(self, hook: LayerHook, _: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        return hook.before(given) if self._on else None

    def _after(self, hook: LayerHook, module: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor | None:
        return hook.after(module, given, output) if self._on else None
