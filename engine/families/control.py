"""ControlNets beside a loaded model, and what they are given in a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class ControlNet:
    """A loaded ControlNet.

    Attributes:
        name: Name of its file or folder; pictures record it.
        module: The module of diffusers, on the model's device.
    """

    name: str
    module: Any


@dataclass(frozen=True, slots=True)
class ControlInput:
    """What a ControlNet is given for the rows of one step.

    Attributes:
        module: The module of diffusers.
        conditions: A control picture for each row, as ``BatchedFamily.control_condition`` returned it.
        weights: (rows,) float32, on the device.
    """

    module: Any
    conditions: Sequence[Tensor]
    weights: Tensor
