"""Stands in for spandrel 0.4.2, and writes the small files that it loads.

Checked against its source: ``ModelLoader(device, registry).load_from_file`` and what it raises, the descriptors' attributes
(``purpose``, ``scale``, ``input_channels``, ``output_channels``, ``tiling``, ``model``), ``eval``, ``to`` with a device, and a call on (1, 3, height,
width) from 0 to 1 that gives (1, 3, height x scale, width x scale) within 0 to 1, under ``inference_mode``. Not here: the
registry, size requirements (spandrel pads by itself), number formats.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import Enum
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Purpose = Literal["SR", "FaceSR", "Inpainting", "Restoration"]

SHIFT = 40
"""How much redder, of 255, whatever it enlarges becomes."""


class UnsupportedModelError(Exception):
    """No architecture knows these tensors."""


class ModelTiling(Enum):
    SUPPORTED = 1
    DISCOURAGED = 2
    INTERNAL = 3


class Local(torch.nn.Module):
    """Nearest neighbour, the mean of what is around each pixel (nothing, beyond the edge), some noise, and more red."""

    def __init__(self, scale: int, reach: int, noise: float, shift: Tensor) -> None:
        super().__init__()
        self.scale = scale
        self.noise = noise
        self.around = torch.nn.AvgPool2d(2 * reach + 1, stride=1, padding=reach)
        self.shift = torch.nn.Parameter(shift, requires_grad=False)

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.around(image).repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)
        return found + self.shift[:, None, None] + self.noise * torch.randn_like(found)


class ImageModelDescriptor:
    def __init__(self, model: Local, purpose: Purpose, scale: int, channels: int, tiling: ModelTiling) -> None:
        self.model = model
        self.purpose = purpose
        self.scale = scale
        self.input_channels = self.output_channels = channels
        self.tiling = tiling

    def eval(self) -> ImageModelDescriptor:
        self.model.eval()
        return self

    def to(self, device: torch.device) -> ImageModelDescriptor:
        self.model.to(device)
        return self

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Tensor:
        found: Tensor = self.model(image)
        return found.clamp_(0, 1)


class ModelLoader:
    def __init__(self, device: str | torch.device | None = None) -> None:
        self.device = torch.device(device or "cpu")

    def load_from_file(self, path: str | Path) -> ImageModelDescriptor:
        tensors = load_file(path, device=str(self.device))
        if "local.scale" not in tensors:
            raise UnsupportedModelError
        scale, reach, noise = (float(tensors[f"local.{name}"]) for name in ("scale", "reach", "noise"))
        purpose = next(p for p in ("SR", "FaceSR", "Inpainting", "Restoration") if f"purpose.{p}" in tensors)
        tiling = next((t for t in ModelTiling if f"tiling.{t.name}" in tensors), ModelTiling.SUPPORTED)
        model = Local(int(scale), int(reach), noise, tensors["local.shift"])
        return ImageModelDescriptor(model, purpose, int(scale), len(tensors["local.shift"]), tiling)  # type: ignore[arg-type]


def write(
    path: Path,
    *,
    scale: int = 2,
    reach: int = 0,
    noise: float = 0.0,
    purpose: Purpose = "SR",
    tiling: ModelTiling = ModelTiling.SUPPORTED,
    shift: tuple[float, ...] = (SHIFT / 255, 0, 0),
) -> Path:
    """Write an upscaler's file; ``reach`` is how far, in pixels of what it enlarges, its pixels depend on others."""
    tensors: Mapping[str, Tensor] = {
        "local.scale": torch.tensor(scale),
        "local.reach": torch.tensor(reach),
        "local.noise": torch.tensor(noise),
        "local.shift": torch.tensor(shift),
        f"purpose.{purpose}": torch.zeros(1),
        f"tiling.{tiling.name}": torch.zeros(1),
    }
    save_file(dict(tensors), path)
    return path


def put(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this module imported as spandrel, in this process, until the test's end."""
    here = sys.modules[__name__]
    spandrel = type(sys)("spandrel")
    vars(spandrel).update({n: v for n, v in vars(here).items() if not n.startswith("__")})
    spandrel.__spec__ = ModuleSpec("spandrel", None)
    monkeypatch.setitem(sys.modules, "spandrel", spandrel)


def folder(path: Path) -> Path:
    """Write a folder that, on the path of another process, is where this module is imported from as spandrel."""
    path.mkdir()
    root = Path(__file__).parents[2]
    (path / "spandrel.py").write_text(
        f"import sys\nsys.path.append({str(root)!r})\nfrom tests.fakes.upscalers import *\n"
    )
    return path
