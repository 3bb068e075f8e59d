"""From a model's name to a warm painter: fetch its files, load them, draw one throw-away picture."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol

import torch
from diffusers.utils.logging import disable_progress_bar

from engine.contract import EngineError, Image, OutOfMemory, Recipe, UnknownModel
from engine.diffusion import device as devices
from engine.diffusion.batch import Painter
from engine.diffusion.encode import Encoder
from engine.diffusion.families.base import Family
from engine.diffusion.hub import CantFetch, Report, fetch
from engine.diffusion.rows import Row

_WARM_STEPS = 2
"""Steps of the throw-away picture: the first one sets everything up, the second shows what a step takes."""


class CantLoad(Exception):
    """The model can't be had or loaded.

    Attributes:
        error: Why, in one sentence.
        passing: It may work later as things are.
    """

    def __init__(self, error: EngineError, *, passing: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.passing = passing


class _Module(Protocol):
    """What a module of ``engine.diffusion.families`` offers to the loader."""

    def load(self, folder: str, device: torch.device, dtype: torch.dtype) -> Family: ...


class Loader:
    """Loads one model on one device.

    Args:
        source: Hub id, or folder of a diffusers pipeline.
        family: Module of ``engine.diffusion.families``.
        device: ``EASEL_DEVICE``.
        precision: ``EASEL_PRECISION``.

    Raises:
        CantLoad: There is no such device.
    """

    def __init__(self, source: str, family: str, device: str, precision: str) -> None:
        self._source = source
        self._family = family
        try:
            self._device = devices.choose(device)
        except devices.NoDevice as e:
            raise CantLoad(EngineError(str(e))) from e
        self.precision = devices.precision(precision, self._device)
        self.title = devices.title(self._device)

    @property
    def on_cpu(self) -> bool:
        """Whether it draws on the cores that the rest of the service needs too."""
        return self._device.type == "cpu"

    def memory(self) -> int:
        """Return the bytes of the device's memory in use."""
        return devices.memory(self._device)

    def fetch(self, models_dir: str, report: Report) -> str:
        """Return the folder of the model, downloading it from the hub when it is not one; raises CantLoad."""
        if Path(self._source).is_dir():
            return self._source
        try:
            return fetch(self._source, models_dir, report)
        except CantFetch as e:
            raise CantLoad(UnknownModel(str(e)), passing=e.passing) from e

    def load(self, folder: str) -> Painter:
        """Return a painter with the model of ``folder`` on its device; raises CantLoad."""
        disable_progress_bar()  # the pipe says how it goes, and standard error is for trouble
        module: _Module = import_module(f"engine.diffusion.families.{self._family}")
        try:
            family = module.load(folder, self._device, devices.dtype(self.precision))
        except (torch.OutOfMemoryError, MemoryError) as e:
            raise CantLoad(OutOfMemory(f"The model in {folder} does not fit the memory of {self.title}.")) from e
        except Exception as e:  # whatever diffusers, transformers and safetensors raise for damaged files
            text = " ".join(str(e).split())[:300]
            raise CantLoad(
                UnknownModel(f"The model in {folder} can't be loaded, copy it again ({type(e).__name__}: {text}).")
            ) from e
        return Painter(family, self._device, self.precision, Encoder())

    def warm(self, painter: Painter, side: int, steps: int) -> tuple[int, float]:
        """Draw one throw-away picture of ``side`` pixels square; return its pixels and the seconds of its last step.

        Raises CantLoad when even that can't be drawn.
        """
        sink = _WarmSink()
        recipe = Recipe("warm", "", "warm", "", side, side, min(steps, _WARM_STEPS), 0.0, 0)
        painter.paint([Row(0, recipe)], sink)
        if sink.error is not None:
            raise CantLoad(sink.error)
        return side * side, sink.seconds


class _WarmSink:
    """Keeps how long the last step took, or what went wrong."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.error: EngineError | None = None

    def wanted(self, _ticket: int, /) -> bool:
        return True

    def stepped(self, _tickets: tuple[int, ...], _step: int, _steps: int, seconds: float, /) -> None:
        self.seconds = seconds

    def drawn(self, _ticket: int, _image: Image, /) -> None:
        """Thrown away."""

    def failed(self, _ticket: int, error: EngineError, /) -> None:
        self.error = error
