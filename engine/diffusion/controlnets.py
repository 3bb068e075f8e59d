"""Loads the ControlNets of a model that is on its device, and finds the edges of a picture that they follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray

from engine.contract import UnknownModel
from engine.control_catalogue import config_of, family_of, folder_config
from engine.diffusion import files, scaled_weights
from engine.diffusion.errors import first_line
from engine.families.batched import BatchedFamily
from engine.families.control import ControlNet
from engine.spec import ControlSpec, is_file
from engine.weights import header, parameters, variant

_PREFIX = "control_model."

CANNY_LOW, CANNY_HIGH = 100, 200
"""Thresholds of the gradient, as diffusers' and A1111's examples have them: edges begin above the higher one and go on
above the lower one."""

_STEEP, _FLAT = np.tan(np.deg2rad(67.5)), np.tan(np.deg2rad(22.5))
"""Slopes between which a gradient counts as diagonal."""

_EDGE_MAP_BLACK = 0.6
"""Least share of black pixels in a picture of edges; drawings in black and white have mostly white ones."""

_EDGE_MAP_CLEAR = 0.9
"""Least share of pixels that are nearly black or nearly white there. Scaling leaves a few grey ones around each edge."""

_EDGE_MAP_THICK = 0.1
"""Largest share of white pixels that are more than two pixels inside of a white area there."""

_NEAR = 32
"""Of 255: how near to black or white that is, and how far apart the colours of a grey pixel may be."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Luma of ITU-R BT.601, which Pillow and OpenCV convert to grey with."""


@dataclass(frozen=True, slots=True)
class ControlFiles:
    """A ControlNet's files on this machine.

    Attributes:
        spec: Which one.
        path: A folder, or a single ``.safetensors`` file.
    """

    spec: ControlSpec
    path: Path

    @property
    def parameters(self) -> int:
        """Number of its parameters."""
        if self.path.is_dir():
            return parameters(self.path)
        return sum(tensor.count for tensor in header(self.path).values())


def locate(spec: ControlSpec, folder_of: Callable[[str], str], file_of: Callable[[str], str]) -> ControlFiles:
    """Return where a ControlNet's files are.

    Args:
        spec: The ControlNet.
        folder_of: Returns the folder of a hub id or a folder; downloads it if necessary.
        file_of: Returns the path of a hub file or a path; downloads it if necessary.
    """
    return ControlFiles(spec, Path((file_of if is_file(spec.source) else folder_of)(spec.source)))


def check(found: ControlFiles) -> None:
    """Check every file that is going to be loaded.

    Raises:
        UnknownModel: A file is missing, damaged, a pickle, or of another family; one sentence.
    """
    config = folder_config(found.path) if found.path.is_dir() else config_of(header(found.path))
    files.check_single(found.path)
    family = family_of(config)
    if family is None or family.name != found.spec.family:
        made = "no ControlNet that Easel can draw with" if family is None else f"a ControlNet for {family.title}"
        raise UnknownModel(f"{found.path} holds {made}; correct its table [control.{found.spec.name}] in models.toml.")


def load(found: ControlFiles, family: BatchedFamily, dtype: torch.dtype) -> None:
    """Put a ControlNet, whose files have been checked, on a model's device, and let the model use it.

    Args:
        found: Its files.
        family: The loaded model.
        dtype: Format of its weights.

    Raises:
        UnknownModel: It does not fit the model, or its files do not fit each other; one sentence.
        torch.OutOfMemoryError, MemoryError: It does not fit the memory.
    """
    try:
        module = _folder(found, family, dtype) if found.path.is_dir() else _file(found, family, dtype)
        if lost := next((name for name, value in module.named_parameters() if value.is_meta), ""):
            raise UnknownModel(f"lacks {lost}")
        module.requires_grad_(False).eval().to(family.device)
        family.set_control(found.spec.kinds, ControlNet(Path(found.spec.source).name, module))
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except UnknownModel as e:
        raise UnknownModel(f"The ControlNet in {found.path} {e}.") from e
    except (RuntimeError, ValueError, KeyError, TypeError) as e:
        why = f"{type(e).__name__}: {first_line(e).rstrip('.')}"
        raise UnknownModel(
            f"The ControlNet in {found.path} can't be loaded: its weights and its config do not go together ({why})."
        ) from e


def _folder(found: ControlFiles, family: BatchedFamily, dtype: torch.dtype) -> Any:
    kind = getattr(diffusers, family.spec.controlnet)
    more = {"variant": v} if (v := variant(found.path)) else {}
    return kind.from_pretrained(str(found.path), dtype=dtype, use_safetensors=True, local_files_only=True, **more)


def _file(found: ControlFiles, family: BatchedFamily, dtype: torch.dtype) -> Any:
    tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in scaled_weights.load(found.path, dtype).items()}
    module, weights = family.empty_control(tensors)
    module.load_state_dict(weights, strict=True, assign=True)
    return module.to(dtype)


def canny(pixels: NDArray[np.uint8], low: float = CANNY_LOW, high: float = CANNY_HIGH) -> NDArray[np.uint8]:
    """Return the edges of a picture (Canny 1986), (height, width): 255 on an edge and 0 elsewhere.

    As OpenCV's ``Canny`` with its defaults: the gradient is Sobel's with three rows, measured by the sum of its absolute
    parts, and the picture is not blurred before.

    Args:
        pixels: (height, width, 3) or (height, width), 0 to 255.
        low: Gradient above which an edge goes on.
        high: Gradient above which an edge begins.
    """
    across, down = _sobel(_grey(pixels))
    strength = np.abs(across) + np.abs(down)
    ridge = _is_ridge(strength, across, down)
    return _connected(ridge & (strength > low), ridge & (strength > high)).astype(np.uint8) * 255


def is_edge_map(pixels: NDArray[np.uint8]) -> bool:
    """Whether a picture, (height, width, 3), shows edges already: thin white lines on black."""
    spread = pixels.max(axis=2).astype(np.int16) - pixels.min(axis=2)
    grey = pixels.mean(axis=2)
    black = grey < _NEAR
    white = grey > 255 - _NEAR
    clear = float((black | white).mean()) >= _EDGE_MAP_CLEAR
    if spread.max() > _NEAR or not clear or black.mean() < _EDGE_MAP_BLACK or not white.any():
        return False
    return bool(_inside(white).sum() <= _EDGE_MAP_THICK * white.sum())


def _inside(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of an area that are more than two pixels from its border."""
    for axis in (0, 1):
        padded = np.pad(area, [(2, 2) if axis == i else (0, 0) for i in (0, 1)])
        area = np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 5, axis=axis).all(axis=-1))
    return area


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    grey = pixels if pixels.ndim == 2 else np.rint(pixels.astype(np.float32) @ _LUMA)
    return grey.astype(np.int32)


def _sobel(grey: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the gradient's parts to the right and down; the border is repeated."""
    p = np.pad(grey, 1, mode="edge")
    columns = p[:-2] + 2 * p[1:-1] + p[2:]
    rows = p[:, :-2] + 2 * p[:, 1:-1] + p[:, 2:]
    return columns[:, 2:] - columns[:, :-2], rows[2:] - rows[:-2]


def _is_ridge(strength: NDArray[np.int32], across: NDArray[np.int32], down: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return where the gradient is strongest along its own direction, so that edges are one pixel wide."""
    p = np.pad(strength, 1)
    height, width = strength.shape

    def beside(x: int, y: int) -> NDArray[np.int32]:
        found: NDArray[np.int32] = p[1 + y : 1 + y + height, 1 + x : 1 + x + width]
        return found

    slope = np.abs(down)
    flat = slope < _FLAT * np.abs(across)
    steep = slope > _STEEP * np.abs(across)
    falling = (across < 0) == (down < 0)  # down and to the right, or up and to the left
    # Of two equal neighbours one stays.
    sideways = (strength > beside(-1, 0)) & (strength >= beside(1, 0))
    upright = (strength > beside(0, -1)) & (strength >= beside(0, 1))
    one = (strength > beside(-1, -1)) & (strength > beside(1, 1))
    other = (strength > beside(1, -1)) & (strength > beside(-1, 1))
    return np.where(flat, sideways, np.where(steep, upright, np.where(falling, one, other)))


def _connected(possible: NDArray[np.bool_], sure: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the possible pixels that are connected to a sure one through others, diagonally too."""
    width = possible.shape[1] + 2
    open_ = np.pad(possible, 1).ravel()
    taken = np.zeros_like(open_)
    offsets = np.array([-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1])
    front = np.flatnonzero(np.pad(sure, 1).ravel())
    while front.size:
        taken[front] = True
        open_[front] = False
        near = (front[:, None] + offsets).ravel()
        front = np.unique(near[open_[near]])
    found: NDArray[np.bool_] = taken.reshape(-1, width)[1:-1, 1:-1]
    return found
