"""Enlarges a picture by the operator's own model, so that what is drawn over it begins from edges and not from a blur."""

from __future__ import annotations

import gc
import logging
import math
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from hashlib import file_digest
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

from engine import upscaler_file
from engine.contract import EngineError, OutOfMemory, UnknownModel
from engine.diffusion.device import release
from engine.diffusion.postprocess import meaning
from engine.regular_files import open_regular

TILE = 192
"""Pixels a side that the model sees at once. ESRGAN's 64 channels of it, fourfold in fp32, are 150 MB, of which some three are
alive together (520 MB were seen): a sixth of what the VAE takes for 1024x1024 pixels in fp32."""

MARGIN = 16
"""Pixels that are cut off where tiles meet: what convolutions see near a tile's edge is not what is there."""

WORKING_SECONDS = 1.0
"""So often, at most, it is said that it is at work."""

_CHARS = 16

T = TypeVar("T")

log = logging.getLogger(__name__)


class Upscaler:
    """Holds the model from its first use until it is unloaded. It computes in fp32 everywhere: it runs once a picture.

    Args:
        path: A ``.safetensors`` file that spandrel can load.
        device: Where it runs.
        working: Told as the model goes from layer to layer: on a CPU a tile alone may take a minute.

    Attributes:
        digest: Short digest of the file that is loaded, by its content; empty before the first use.
    """

    def __init__(self, path: Path, device: torch.device, working: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._device = device
        self._on = device
        self._working = working
        self._model: Any = None
        self._told = 0.0
        self.digest = ""

    def check(self) -> None:
        """Load it into main memory and let go of it, so that what is wrong with it is said before it is needed.

        Raises:
            UnknownModel: The file can't be read, or is no model that enlarges RGB pictures.
            EngineError: What loads it is not here.
        """
        self._load(torch.device("cpu"))
        gc.collect()

    def enlarge(self, picture: Pillow.Image) -> Generator[None, None, Pillow.Image]:
        """Enlarge an RGB picture tile by tile: yields between tiles, and returns it in RGB, larger by a whole factor.

        What does not fit the device beside the other models is computed in main memory.

        Raises:
            EngineError: As ``check``, or what the model gave is no picture.
        """
        if self._model is None:
            self._put(self._spared(lambda: self._load(self._on)))
        scale: int = self._model.scale
        given = torch.from_numpy(np.array(picture, np.uint8))
        height, width, _ = given.shape
        # In main memory and in bytes: of the whole picture nothing more is ever held than that.
        found = torch.empty(height * scale, width * scale, 3, dtype=torch.uint8)
        tile = max(height, width) if self._model.tiling.name == "INTERNAL" else TILE
        for top, y, y_end in spans(height, tile):
            for left, x, x_end in spans(width, tile):
                seen = self._spared(partial(self._tile, given[top : top + tile, left : left + tile]))
                kept = seen[(y - top) * scale : (y_end - top) * scale, (x - left) * scale : (x_end - left) * scale]
                found[y * scale : y_end * scale, x * scale : x_end * scale] = kept
                yield
        return Pillow.fromarray(found.numpy())

    def unload(self) -> None:
        """Let go of the model; the next picture loads it again. Not while a picture is being enlarged."""
        self._model = None
        self._on = self._device

    def _put(self, model: Any) -> None:
        self._model = model
        for layer in model.model.modules():
            layer.register_forward_hook(self._tell)
        with open_regular(self._path) as file:
            self.digest = file_digest(file, "sha256").hexdigest()[:_CHARS]

    def _spared(self, work: Callable[[], T]) -> T:
        """Return what the work makes; for want of the device's memory on the processor, until the model is unloaded."""
        try:
            return work()
        except Exception as e:
            if self._on.type == "cpu" or not isinstance(meaning(e), OutOfMemory):
                raise
            log.warning("The upscaler does not fit the device now and computes on the processor: %r", e)
        # Outside of the except block, which keeps the failed work's tensors alive.
        self._on = torch.device("cpu")
        if self._model is not None:
            self._model.to(self._on)
        release(self._device)
        return work()

    def _tell(self, *_: object) -> None:
        if (now := time.monotonic()) - self._told >= WORKING_SECONDS:
            self._told = now
            self._working()

    @torch.inference_mode()
    def _tile(self, pixels: Tensor) -> Tensor:
        """Return (height x scale, width x scale, 3) of (height, width, 3), both 0 to 255 on the CPU."""
        # Some models add noise: the same for every tile, and the same when the picture is drawn again.
        torch.manual_seed(0)
        found: Tensor = self._model(pixels.to(self._on).permute(2, 0, 1)[None].float() / 255)
        if not torch.isfinite(found).all():
            raise EngineError(f"The upscaler {self._path.name} gave numbers that are no picture; get its file again.")
        return (found[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu()

    def _load(self, device: torch.device) -> Any:
        upscaler_file.check(self._path)
        library = _library()
        try:
            model: Any = library.ModelLoader(device=device).load_from_file(self._path)
        except (torch.AcceleratorError, torch.OutOfMemoryError, MemoryError):
            raise
        except library.UnsupportedModelError as e:
            raise UnknownModel(
                f"EASEL_UPSCALER: {self._path} is of no kind that {upscaler_file.LIBRARY} knows; give an ESRGAN, a SwinIR or the like."
            ) from e
        except Exception as e:  # its architectures raise whatever the tensors lead them to
            raise UnknownModel(f"EASEL_UPSCALER: {self._path} can't be loaded ({_said(e)}).") from e
        self._check_kind(model)
        return model.eval()

    def _check_kind(self, model: Any) -> None:
        if model.purpose != "SR" or model.scale < 2:
            raise UnknownModel(
                f"EASEL_UPSCALER: {self._path} enlarges nothing (its purpose is {model.purpose}, its scale {model.scale}); "
                "give a model that does."
            )
        if (model.input_channels, model.output_channels) != (3, 3):
            raise UnknownModel(
                f"EASEL_UPSCALER: {self._path} makes pictures of {model.output_channels} channels from "
                f"{model.input_channels}; give a model for RGB."
            )


def spans(length: int, tile: int = TILE) -> Iterator[tuple[int, int, int]]:
    """Yield, for each tile along a side, where it begins, and from where to where it is kept; all in pixels.

    Tiles are all as long, so that none is too short for its model, and evenly spread. What is kept of them is the whole
    side, and at least ``MARGIN`` away from edges that are not the picture's own.
    """
    if length <= tile:
        yield 0, 0, length
        return
    count = math.ceil((length - 2 * MARGIN) / (tile - 2 * MARGIN))
    firsts = [round(n * (length - tile) / (count - 1)) for n in range(count)]
    cuts = [0, *((one + tile + other) // 2 for one, other in pairwise(firsts)), length]
    yield from ((first, *kept) for first, kept in zip(firsts, pairwise(cuts), strict=True))


def _library() -> Any:
    upscaler_file.check_library()
    try:
        return import_module(upscaler_file.LIBRARY)
    except Exception as e:  # a torchvision for another PyTorch raises what it likes
        raise EngineError(
            f"EASEL_UPSCALER needs {upscaler_file.LIBRARY}, which can't be imported ({_said(e)}): install the torchvision that "
            "goes with your PyTorch."
        ) from e


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
