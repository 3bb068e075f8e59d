"""Keeps Z-Image's transformer finite in fp16: what its blocks add up is clamped to the largest numbers of that format.

Its activations grow beyond 65504. Attention and feed-forward layers are normalised behind the sums that overflow, so that
the direction counts and little is lost; ComfyUI draws Lumina and Z-Image in fp16 in the same way.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MOST = torch.finfo(torch.float16).max


def clamp_sums(part: nn.Module) -> None:
    """Clamp the sums of all blocks in a part, once for each part."""
    block: Any
    for block in part.modules():
        if hasattr(block, "attention") and hasattr(block, "feed_forward"):
            for module in (block, block.attention, block.feed_forward):
                module.register_forward_hook(_clamp_output)
            block.feed_forward.w2.register_forward_pre_hook(_clamp_input)


def clamped(tensor: Tensor) -> Tensor:
    """Return the tensor in fp16, without infinities. NaN stays NaN: it is noticed when the picture is finished."""
    return tensor.clamp(-MOST, MOST).to(torch.float16)


def _clamp_output(_: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return output.clamp(-MOST, MOST)


def _clamp_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0].clamp(-MOST, MOST), *inputs[1:])
