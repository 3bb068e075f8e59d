"""Enlarges an initial image with the operator's upscaler, so that drawing over it starts from sharp edges."""

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
from engine.diffusion.errors import engine_error
from engine.regular_files import open_regular

TILE = 192
"""Side of a tile in pixels. A feature map of ESRGAN (64 channels, enlarged fourfold, fp32) takes 150 MB, and about three
are alive at a time (520 MB were measured): a sixth of what the VAE takes for 1024x1024 pixels in fp32."""

MARGIN = 16
"""Pixels that are cut off where tiles meet, since convolutions see padding near a tile's edge."""

WORKING_SECONDS = 1.0
"""Shortest time between two calls of ``working``."""

_CHARS = 16

T = TypeVar("T")

log = logging.getLogger(__name__)


class Upscaler:
    """Holds the model from its first use until it is unloaded. It always computes in fp32, since it runs once a picture.

    Args:
        path: A ``.safetensors`` file that spandrel can load.
        device: The device that it runs on.
        working: Called while the model runs, since one tile may take a minute on a CPU.

    Attributes:
        digest: Short digest of the loaded file's content; empty before the first use.
    """

    def __init__(self, path: Path, device: torch.device, working: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._device = device
        self._on = device
        self._working = working
        self._model: Any = None
        self._reported_at = 0.0
        self.digest = ""

    def check(self) -> None:
        """Load it into main memory and drop it, so that problems are reported before it is needed.

        Raises:
            UnknownModel: The file can't be read, or is no upscaler for RGB pictures.
            EngineError: The library that loads it is missing.
        """
        self._load(torch.device("cpu"))
        gc.collect()

    def upscale(self, picture: Pillow.Image) -> Generator[None, None, Pillow.Image]:
        """Enlarge an RGB picture tile by tile: yield between tiles, and return it enlarged by an integer factor.

        It runs on the CPU where it does not fit the device next to the loaded model.

        Raises:
            EngineError: As ``check``, or the model's output is not finite.
        """
        if self._model is None:
            self._put(self._with_cpu_fallback(lambda: self._load(self._on)))
        scale: int = self._model.scale
        pixels = torch.from_numpy(np.array(picture, np.uint8))
        height, width, _ = pixels.shape
        # In main memory and as bytes: the whole picture is never held in a larger form.
        found = torch.empty(height * scale, width * scale, 3, dtype=torch.uint8)
        side = max(height, width) if self._model.tiling.name == "INTERNAL" else TILE
        for top, y, y_end in spans(height, side):
            for left, x, x_end in spans(width, side):
                tile = self._with_cpu_fallback(partial(self._tile, pixels[top : top + side, left : left + side]))
                inner = tile[(y - top) * scale : (y_end - top) * scale, (x - left) * scale : (x_end - left) * scale]
                found[y * scale : y_end * scale, x * scale : x_end * scale] = inner
                yield
        return Pillow.fromarray(found.numpy())

    def unload(self) -> None:
        """Drop the model; the next picture loads it again. Must not be called while a picture is being enlarged."""
        self._model = None
        self._on = self._device

    def _put(self, model: Any) -> None:
        self._model = model
        for layer in model.model.modules():
            layer.register_forward_hook(self._report_working)
        with open_regular(self._path) as file:
            self.digest = file_digest(file, "sha256").hexdigest()[:_CHARS]

    def _with_cpu_fallback(self, work: Callable[[], T]) -> T:
        """Return the result of ``work``; when the device has too little memory, use the CPU until the model is unloaded."""
        try:
            return work()
        except Exception as e:
            if self._on.type == "cpu" or not isinstance(engine_error(e), OutOfMemory):
                raise
            log.warning("The upscaler does not fit the device now and computes on the processor: %r", e)
        # Outside of the except block, which keeps the tensors of the failed call alive.
        self._on = torch.device("cpu")
        if self._model is not None:
            self._model.to(self._on)
        release(self._device)
        return work()

    def _report_working(self, *_: object) -> None:
        if (now := time.monotonic()) - self._reported_at >= WORKING_SECONDS:
            self._reported_at = now
            self._working()

    @torch.inference_mode()
    def _tile(self, pixels: Tensor) -> Tensor:
        """Return (height x scale, width x scale, 3) of (height, width, 3), both 0 to 255 on the CPU."""
        # Some models add noise: it must be the same for every tile and every run.
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
        except Exception as e:  # its architectures raise many kinds of exceptions
            raise UnknownModel(f"EASEL_UPSCALER: {self._path} can't be loaded ({_describe(e)}).") from e
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
    """Yield (begin, keep from, keep to) in pixels for each tile along a side.

    All tiles have the same length, so that none is too short for the model, and are evenly spaced. The kept parts cover
    the whole side and are at least ``MARGIN`` away from the edges of a tile inside the picture.
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
    except Exception as e:  # a torchvision for another PyTorch raises many kinds of exceptions
        raise EngineError(
            f"EASEL_UPSCALER needs {upscaler_file.LIBRARY}, which can't be imported ({_describe(e)}): install the torchvision that "
            "goes with your PyTorch."
        ) from e


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
