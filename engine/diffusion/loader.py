"""From a model's spec to a family on its device: fetch its files, plan, load, fit, draw one throw-away picture."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils.logging import disable_progress_bar

from engine import catalogue
from engine.contract import EngineError, OutOfMemory, Recipe, UnknownModel
from engine.diffusion import device as devices
from engine.diffusion.families.base import Family
from engine.diffusion.families.z_image import ZImage
from engine.diffusion.keeper import CantLoad, Loaded
from engine.hub.errors import CantFetch, Report
from engine.hub.fetch import fetch
from engine.spec import ModelSpec

_WARM_STEPS = 2
"""Steps of the throw-away picture: the first one sets everything up, the second shows what a step takes."""

_FAMILIES: Mapping[str, type[Family]] = {"z_image": ZImage}


class Loader:
    """Loads models on one device. Obeys ``engine.diffusion.keeper.Loads``.

    Args:
        device: ``EASEL_DEVICE``.
        precision: ``EASEL_PRECISION``.
        models_dir: Where downloaded models are kept.
        compile_with: ``EASEL_COMPILE``; empty: not compiled.
        report: Told how a download goes.

    Raises:
        CantLoad: There is no such device.
    """

    def __init__(self, device: str, precision: str, models_dir: str, compile_with: str, report: Report) -> None:
        try:
            self.device = devices.choose(device)
        except devices.NoDevice as e:
            raise CantLoad(EngineError(str(e))) from e
        self._asked = precision
        self._models_dir = models_dir
        self._compile_with = compile_with
        self._report = report
        self.title = devices.title(self.device)

    @property
    def on_cpu(self) -> bool:
        """Whether it draws on the cores that the rest of the service needs too."""
        return self.device.type == "cpu"

    def memory(self) -> int:
        """Return the bytes of the device's memory in use."""
        return devices.memory(self.device)

    def load(self, spec: ModelSpec, precision: str) -> Loaded:
        """See Loads."""
        disable_progress_bar()  # the pipe says how it goes, and standard error is for trouble
        folder = self._folder(spec.profile.source)
        chosen = devices.precision(precision or self._asked, self.device)
        try:
            pipe: Any = DiffusionPipeline.from_pretrained(
                folder,
                dtype=devices.dtype(chosen),
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
            )
            pipe.set_progress_bar_config(disable=True)
            pipe.to(self.device)
        except (torch.OutOfMemoryError, MemoryError) as e:
            raise CantLoad(OutOfMemory(f"The model in {folder} does not fit the memory of {self.title}.")) from e
        except Exception as e:  # whatever diffusers, transformers and safetensors raise for damaged files
            text = " ".join(str(e).split())[:300]
            raise CantLoad(
                UnknownModel(f"The model in {folder} can't be loaded, copy it again ({type(e).__name__}: {text}).")
            ) from e
        return Loaded(spec, _FAMILIES[spec.profile.family](pipe, self.device), chosen)

    def unload(self, loaded: Loaded) -> None:
        """See Loads."""
        loaded.family.close()
        gc.collect()
        devices.release(self.device)

    def fit(self, loaded: Loaded, width: int, height: int) -> int:  # noqa: ARG002
        """See Loads."""
        return catalogue.batch_of(width * height)

    def safer(self, precision: str) -> str | None:
        """See Loads."""
        return {"fp16": "fp32", "bf16": "fp32"}.get(precision)

    def _folder(self, source: str) -> str:
        if Path(source).is_dir():
            return source
        try:
            return fetch(source, self._models_dir, self._report).folder
        except CantFetch as e:
            raise CantLoad(UnknownModel(str(e)), passing=e.passing) from e


def warm_recipe(spec: ModelSpec) -> Recipe:
    """Return the throw-away picture of a model: its native square, in two steps."""
    profile = spec.profile
    side = profile.side.default
    return Recipe("warm", profile.name, "warm", "", side, side, min(profile.steps.default, _WARM_STEPS), 0.0, 0)
