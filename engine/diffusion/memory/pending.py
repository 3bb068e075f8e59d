"""Weights that stay in their files until each is placed: converted, merged with LoRAs, quantised and moved, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from engine.diffusion.memory.probe import plain_tensors

_HOST = torch.device("cpu")

LayerChange = Callable[[nn.Module], None]
"""Changes the weights of a layer for good; it is called with the layer's weights in main memory, in float32."""

LayerChanges = Mapping[nn.Module, Sequence[LayerChange]]
"""Changes by layer, in the order in which they are made."""


@dataclass(slots=True)
class _Source:
    """A weight as it was loaded, mapped from its file, and where it belongs: to several layers where these are tied."""

    tensor: Tensor
    slots: list[tuple[nn.Module, str]] = field(default_factory=list)


class PendingWeights:
    """Takes the weights of parts that were loaded on the CPU, and gives each its place later.

    Until then a parameter on PyTorch's meta device stands for each: its format and its memory format say how the weight
    is going to be stored. Filled one by one, weights take the main memory of a layer and not that of the model.

    Args:
        changes: LoRAs that are added to the weights.
    """

    def __init__(self, changes: LayerChanges | None = None) -> None:
        self._changes = dict(changes or {})
        self._sources: dict[tuple[nn.Module, str], _Source] = {}
        self._wide: dict[nn.Module, torch.dtype] = {}
        self._quantise: dict[nn.Module, Callable[[Any], None]] = {}

    def take(
        self,
        part: nn.Module,
        stored: torch.dtype | None,
        loaded: torch.dtype,
        quantise: Callable[[Any], None] | None = None,
    ) -> None:
        """Take the weights of a part.

        Args:
            part: A part on the CPU, whose weights no library has quantised.
            stored: The format that it was loaded in, which is that of its files; None: it was loaded in the final one.
            loaded: The final format.
            quantise: Quantises a linear layer in place; None: weights stay as they are.
        """
        kept = _kept_in_fp32(part, loaded)
        head = _output_layer(part)
        sources: dict[int, _Source] = {}
        stand_ins: dict[int, nn.Parameter] = {}
        for path, module in part.named_modules():
            for name, parameter in module._parameters.items():  # noqa: SLF001  # named_parameters leaves out tied ones
                if parameter is None or (module, name) in self._sources or parameter.device != _HOST:
                    continue
                source = sources.setdefault(id(parameter), _Source(parameter.detach()))
                source.slots.append((module, name))
                self._sources[module, name] = source
                if id(parameter) not in stand_ins:
                    dtype = parameter.dtype
                    # What the library has loaded in another format than that of the files has a reason to be in it.
                    if dtype == stored:
                        dtype = torch.float32 if kept(f"{path}.{name}") else loaded
                    stand_ins[id(parameter)] = _parameter(torch.empty_like(parameter, dtype=dtype, device="meta"))
                module._parameters[name] = stand_ins[id(parameter)]  # noqa: SLF001
            linear = isinstance(module, nn.Linear) and module is not head and module.weight.dtype == loaded
            if quantise is not None and linear:
                self.quantise(module, quantise)
            for name, buffer in module._buffers.items():  # noqa: SLF001
                saved = name not in module._non_persistent_buffers_set  # noqa: SLF001
                if buffer is not None and saved and buffer.is_floating_point() and buffer.dtype == stored:
                    module._buffers[name] = buffer.to(loaded)  # noqa: SLF001

    def quantise(self, layer: nn.Linear, how: Callable[[Any], None]) -> None:
        """Quantise a linear layer in this way once its weight, which has been taken, has its place."""
        self._quantise[layer] = how
        self._wide[layer] = layer.weight.dtype

    def fill(self, module: nn.Module, device: torch.device) -> None:
        """Give the weights of a module, and of those inside it, that have no place yet their place on a device."""
        for layer in module.modules():
            names = [name for name in layer._parameters if (layer, name) in self._sources]  # noqa: SLF001
            if layer in self._changes:
                names = self._changed(layer, names)
            for name in names:
                source = self._sources[layer, name]
                like = layer._parameters[name]  # noqa: SLF001
                assert like is not None
                # A layer that is quantised has its weight as it was loaded, whatever the part was cast to.
                dtype = self._wide.get(layer, like.dtype) if name == "weight" else like.dtype
                placed = _parameter(_like(source.tensor, like.to(dtype)).to(device))
                for owner, own_name in source.slots:
                    owner._parameters[own_name] = placed  # noqa: SLF001
                    del self._sources[owner, own_name]
            if (quantise := self._quantise.pop(layer, None)) is not None:
                quantise(layer)

    def nbytes(self, module: nn.Module) -> int:
        """Return the bytes of a module's weights once they are filled."""
        return sum(self._layer_bytes(layer) for layer in module.modules())

    def _layer_bytes(self, layer: nn.Module) -> int:
        found = sum(
            plain.nbytes
            for parameter in layer._parameters.values()  # noqa: SLF001
            if parameter is not None
            for plain in plain_tensors(parameter)
        )
        if layer in self._quantise and isinstance(layer, nn.Linear):
            weight = layer.weight
            found += weight.numel() + len(weight) * weight.itemsize - weight.nbytes
        return found

    def _changed(self, layer: nn.Module, names: list[str]) -> list[str]:
        """Make the changes of a layer, which may give it a bias; return the names of its weights."""
        stand_ins = dict(layer._parameters)  # noqa: SLF001
        for name in names:
            layer._parameters[name] = _parameter(self._sources[layer, name].tensor.to(_HOST, torch.float32, copy=True))  # noqa: SLF001
        for change in self._changes.pop(layer):
            change(layer)
        for name, parameter in layer._parameters.items():  # noqa: SLF001
            before = stand_ins.get(name)
            if parameter is None or parameter is before:
                continue
            if before is None:  # a new bias, in the format of the weight
                weight = stand_ins["weight"]
                assert weight is not None
                before = _parameter(torch.empty_like(parameter, dtype=weight.dtype, device="meta"))
                self._sources[layer, name] = _Source(parameter.detach(), [(layer, name)])
                names.append(name)
            self._sources[layer, name].tensor = parameter.detach()
            layer._parameters[name] = before  # noqa: SLF001
        return names


def _like(tensor: Tensor, stand_in: Tensor) -> Tensor:
    """Return a weight in the format and memory format of its stand-in; itself where it has both, so that it stays mapped."""
    if tensor.dtype == stand_in.dtype and tensor.stride() == stand_in.stride():
        return tensor
    made = torch.empty_strided(stand_in.size(), stand_in.stride(), dtype=stand_in.dtype, device=tensor.device)
    return made.copy_(tensor)


def _kept_in_fp32(part: nn.Module, loaded: torch.dtype) -> Callable[[str], bool]:
    """Return what tells by a weight's name whether its library keeps it in float32 where the part is in this format."""
    names = set(getattr(part, "_keep_in_fp32_modules", None) or ())
    strict = getattr(part, "_keep_in_fp32_modules_strict", None)
    if strict is not None:  # transformers; diffusers knows no difference
        names = (names if loaded == torch.float16 else set()) | set(strict)
    return lambda name: bool(names.intersection(name.split(".")))


def _output_layer(part: nn.Module) -> nn.Module | None:
    """Return the layer of a language model that gives words, which libraries do not quantise."""
    given = getattr(part, "get_output_embeddings", None)
    found = given() if given is not None else None
    return found if isinstance(found, nn.Module) else None


def _parameter(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)
