"""From a model's spec to a family on its device: find or fetch its files, look at them, plan, load, put in place."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from diffusers.utils.logging import disable_progress_bar

from engine import catalogue
from engine.contract import EngineError, OutOfMemory, Recipe, UnknownModel
from engine.diffusion import device as devices
from engine.diffusion import files, optimizations
from engine.diffusion.assemble import assemble
from engine.diffusion.memory import abilities, apply
from engine.diffusion.memory.allocator import thrifty
from engine.diffusion.memory.held import held
from engine.diffusion.memory.plan import plan, refit, safer
from engine.diffusion.memory.types import CPU, CUDA, Device, Plan
from engine.diffusion.model_manager import LoadedModel, LoadError
from engine.families.base import Family
from engine.families.step_cache import StepCache
from engine.folders import PARTS
from engine.hub.errors import FetchError, ProgressCallback
from engine.hub.fetch import fetch, fetch_file
from engine.hub.needs import needs
from engine.hub.selection import WHOLE
from engine.spec import ModelSpec

_WARM_STEPS = 2
"""Steps of the throw-away picture: the first one sets everything up, the second shows what a step takes."""

_FAMILIES: Mapping[str, tuple[str, str]] = {
    "z_image": ("engine.families.z_image.model", "ZImage"),
    "sdxl": ("engine.families.sdxl.model", "SDXL"),
    "sd15": ("engine.families.sd15.model", "SD15"),
}
"""Module and class of each; imported when needed, since each imports its own pipelines."""


@dataclass(slots=True)
class _Found:
    """Where a model's files are, and their commit."""

    files: files.Files
    revision: str


@dataclass(slots=True)
class Loader:
    """Loads models on one device. Obeys ``engine.diffusion.model_manager.Loads``.

    Args:
        asked_device: ``EASEL_DEVICE``.
        asked_precision: ``EASEL_PRECISION``.
        models_dir: Where downloaded models are kept.
        compile_with: ``EASEL_COMPILE``; empty: not compiled.
        report: Told how a download goes.
        kept: Bytes of the device that are not for these models.
        step_cache: ``EASEL_STEP_CACHE``.

    Raises:
        LoadError: There is no such device.
    """

    asked_device: str
    asked_precision: str
    models_dir: str
    compile_with: str
    report: ProgressCallback
    kept: int = 0
    step_cache: int = 1
    device: torch.device = field(init=False)
    title: str = field(init=False)
    _plan: Plan | None = field(init=False, default=None)
    _gguf: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        try:
            self.device = devices.choose(self.asked_device)
        except devices.NoDevice as e:
            raise LoadError(EngineError(str(e))) from e
        self.title = devices.title(self.device)

    @property
    def on_cpu(self) -> bool:
        """Whether it draws on the cores that the rest of the service needs too."""
        return self.device.type == "cpu"

    def memory(self) -> int:
        """Return the bytes of the device's memory in use."""
        return devices.memory(self.device)

    def check(self, spec: ModelSpec, precision: str, replaced: LoadedModel, *, stay: bool = False) -> None:
        """See Loads."""
        error: LoadError | None = None
        try:
            found = self._find(spec)
            files.check(found.files)
            self._plan_for(spec, found.files, precision, self._without(replaced), stay=stay)
        except torch.AcceleratorError:
            raise
        except Exception as e:  # noqa: BLE001  # whatever is wrong with a model's files must not end the process
            error = self._meaning(spec, e)
        if error is not None:
            raise error

    def load(self, spec: ModelSpec, precision: str, *, stay: bool = False) -> LoadedModel:
        """See Loads."""
        disable_progress_bar()  # the pipe says how it goes, and standard error is for trouble
        try:
            found = self._find(spec)
            files.check(found.files)
            look = abilities.look(self.device, self.kept)
            made = self._plan_for(spec, found.files, precision, look, stay=stay)
            family = self._family(spec, found.files, made)
        except torch.AcceleratorError:
            raise
        except Exception as e:  # noqa: BLE001  # see above
            error = self._meaning(spec, e)
        else:
            self._plan, self._gguf = made, _gguf_bytes(found.files)
            return LoadedModel(spec, family, made.precision, made.sentence, found.revision)
        # Outside of the except block, which keeps the failed load's tensors alive.
        devices.release(self.device)
        raise error

    def unload(self, loaded: LoadedModel) -> None:
        """See Loads."""
        loaded.family.close()
        devices.release(self.device)

    def fit(self, loaded: LoadedModel, width: int, height: int) -> int:
        """See Loads."""
        assert self._plan is not None
        fitted = refit(self._plan, loaded.spec.profile, width, height, gguf=self._gguf)
        if fitted.tile_vae:
            # Never back: pictures of another size may be on their way.
            apply.tile(loaded.family.pipe, True)
        return min(fitted.batch, catalogue.batch_of(width * height))

    def safer(self, precision: str) -> str | None:
        """See Loads."""
        # What is in a GGUF file is in no other precision.
        return None if precision == "gguf" else safer(precision, abilities.look(self.device))

    def _find(self, spec: ModelSpec) -> _Found:
        """Return where the files are, downloading what is missing; raises FetchError."""
        revisions: list[str] = []
        selection = {need.source: need.selection for need in needs(spec)}

        def folder_of(source: str) -> str:
            if Path(source).is_dir():
                return source
            got = fetch(source, self.models_dir, self.report, selection=selection.get(source, WHOLE))
            revisions.append(got.revision)
            return got.folder

        def file_of(source: str) -> str:
            if Path(source).is_absolute():
                return source
            got = fetch_file(source, self.models_dir, self.report)
            # What the model is named after is what decides most.
            revisions.insert(0, got.revision)
            return got.path

        located = files.locate(spec, folder_of, file_of)
        return _Found(located, revisions[0] if revisions else spec.revision)

    def _plan_for(self, spec: ModelSpec, located: files.Files, precision: str, look: Device, *, stay: bool) -> Plan:
        width, height = spec.profile.presets["square"]
        asked = precision or self.asked_precision
        made = plan(spec.profile, width, height, look, asked, abilities.libraries(), gguf=_gguf_bytes(located))
        if stay and made.on == CPU != self.device.type and self._plan is not None and self._plan.on != CPU:
            raise OutOfMemory(f"{spec.profile.title} does not fit the memory of {self.title} in {precision}.")
        return made

    def _without(self, loaded: LoadedModel) -> Device:
        """Return what the device would have free without a model that is on it."""
        assert self._plan is not None
        look, weights = abilities.look(self.device, self.kept), held(loaded.family.pipe)
        there, here = weights.get(self.device.type, 0), weights.get(CPU, 0)
        if look.kind != CUDA:  # one memory for both
            both = sum(weights.values())
            return replace(look, free=look.free + both, host_free=look.host_free + both)
        # Some ways to offload hide the weights from their modules.
        here = max(here, self._plan.host_bytes)
        there = max(there, torch.cuda.memory_allocated(self.device))
        return replace(look, free=min(look.free + there, look.total), host_free=look.host_free + here)

    def _meaning(self, spec: ModelSpec, error: Exception) -> LoadError:
        """Return what an exception means for the model, without the frames that hold its tensors."""
        title = spec.profile.title
        passing = isinstance(error, FetchError) and error.passing
        match error:
            case EngineError():
                found = error
            case FetchError():
                found = UnknownModel(str(error))
            case torch.OutOfMemoryError() | MemoryError():
                found = OutOfMemory(f"{title} does not fit the memory of {self.title}.")
            case _ if "can't allocate memory" in str(error):  # the CPU's allocator has no exception class of its own
                found = OutOfMemory(f"{title} does not fit the memory of {self.title}.")
            case _:
                text = (str(error).strip().splitlines() or [""])[0][:300].rstrip(".")
                found = EngineError(f"{title} can't be loaded ({type(error).__name__}: {text}); look at its files.")
        found.__cause__ = found.__context__ = None
        return LoadError(found.with_traceback(None), passing=passing)

    def _family(self, spec: ModelSpec, located: files.Files, made: Plan) -> Family:
        options = dict(apply.options(made, PARTS[spec.profile.family]))
        dtype = options.pop("dtype")
        # The plan may have found the card too small for anything.
        device = torch.device("cpu") if made.on == "cpu" else self.device
        with thrifty() if made.quantises else nullcontext():
            pipe = assemble(located, spec.profile, dtype, **options)
            apply.settle(pipe, made, device)
        module, name = _FAMILIES[spec.profile.family]
        kind: Any = getattr(import_module(module), name)
        family: Family = kind(pipe, device)
        family.step_cache = StepCache(self.step_cache)
        optimizations.arrange(family)
        if self.compile_with:
            optimizations.compile_blocks(family, self.compile_with, warm_recipe(spec))
        return family


def _gguf_bytes(located: files.Files) -> int:
    """Return the size of the GGUF file that holds the denoiser; 0 where there is none."""
    denoiser = located.denoiser
    return denoiser.stat().st_size if denoiser is not None and denoiser.suffix.lower() == ".gguf" else 0


def warm_recipe(spec: ModelSpec) -> Recipe:
    """Return the throw-away picture of a model: its native square, in two steps."""
    profile = spec.profile
    width, height = profile.presets["square"]
    steps = max(profile.steps.low, min(profile.steps.default, _WARM_STEPS))
    return Recipe("warm", profile.name, "warm", "", width, height, steps, 0.0, 0)
