"""Loads a model on its device: finds or downloads its files, checks them, plans the memory, loads and places it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.utils.logging import disable_progress_bar
from numpy.typing import NDArray

from engine import catalogue
from engine.contract import EngineError, OutOfMemory, Recipe, UnknownModel
from engine.diffusion import controlnets, files, svdquant
from engine.diffusion import device as devices
from engine.diffusion.assemble import assemble
from engine.diffusion.errors import first_line, is_out_of_memory
from engine.diffusion.memory import apply, probe
from engine.diffusion.memory.pending import LayerChange
from engine.diffusion.memory.plan import plan, refit, room_to_decode, safer
from engine.diffusion.memory.probe import bytes_by_device, trimming
from engine.diffusion.memory.types import CPU, CUDA, PACKED, Device, ModelMemory, Plan, gib
from engine.diffusion.model_manager import LoadedModel, LoadError
from engine.diffusion.step_tuning import GROWTH
from engine.families.batched import BatchedFamily
from engine.families.family import Family
from engine.families.registry import model_class
from engine.families.step_cache import StepCache
from engine.hub.errors import FetchError, ProgressCallback
from engine.hub.fetch import fetch, fetch_file, fetch_single
from engine.hub.needs import needs
from engine.hub.selection import WHOLE
from engine.spec import ControlSpec, ModelSpec

log = logging.getLogger(__name__)

_WARM_STEPS = 2
"""Steps of the warm-up picture: the first one initialises kernels, the second shows the time of a step."""


@dataclass(slots=True)
class _Found:
    """A model's files and their commit."""

    files: files.Files
    revision: str


@dataclass(slots=True)
class Loader:
    """Loads models on one device. Obeys ``engine.diffusion.model_manager.ModelLoader``.

    Args:
        requested_device: See ``engine.diffusion.device.choose``.
        requested_precision: ``EASEL_PRECISION``.
        models_dir: Folder of downloaded models.
        compile_with: ``EASEL_COMPILE``; empty: not compiled.
        report: Called with the progress of a download.
        reserved: Bytes of the device that are reserved for something else.
        step_cache: ``EASEL_STEP_CACHE``.
        slot: Id of the slot that the device is; empty where there is one device.
        stay: Refuse a model that does not fit the card, where it would be drawn on the CPU.
        turn: Held while a model is loaded: its weights pass through main memory, which may not hold two at the same time.

    Raises:
        LoadError: There is no such device.
    """

    requested_device: str
    requested_precision: str
    models_dir: str
    compile_with: str
    report: ProgressCallback
    reserved: int = 0
    step_cache: int = 1
    slot: str = ""
    stay: bool = False
    turn: Callable[[], AbstractContextManager[object]] = nullcontext
    device: torch.device = field(init=False)
    title: str = field(init=False)

    def __post_init__(self) -> None:
        try:
            self.device = devices.choose(self.requested_device, self.slot)
        except devices.NoDevice as e:
            raise LoadError(EngineError(str(e))) from e
        self.title = devices.title(self.device, self.slot)

    @property
    def on_cpu(self) -> bool:
        """Whether the device is the CPU, which the rest of the service needs too."""
        return self.device.type == "cpu"

    def memory(self) -> int:
        """Return the bytes of the device's memory in use."""
        return devices.memory(self.device)

    def check(self, spec: ModelSpec, precision: str, resident: Sequence[LoadedModel], *, stay: bool = False) -> int:
        """See ModelLoader."""
        try:
            found = self._find(spec)
            files.check(found.files)
            alone = self._plan_for(spec, found.files, precision, self._without(resident, everything=True), stay=stay)
            for leaving in range(len(resident)):
                staying = resident[leaving:]
                try:
                    made = self._plan_for(spec, found.files, precision, self._without(resident[:leaving]), stay=stay)
                except OutOfMemory:
                    continue
                if made.as_good_as(alone, _worth(spec)) and self._stay_as_good(staying, made):
                    return leaving
            return len(resident)
        except torch.AcceleratorError:
            raise
        except Exception as e:  # noqa: BLE001  # a broken model must not end the process
            error = self._load_error(spec.profile.title, e)
        raise error

    def load(
        self, spec: ModelSpec, precision: str, beside: Sequence[LoadedModel] = (), *, stay: bool = False
    ) -> LoadedModel:
        """See ModelLoader."""
        disable_progress_bar()  # progress goes through the pipe
        if beside:
            devices.release(self.device)
        try:
            found = self._find(spec)
            files.check(found.files)
            with self.turn():
                device = probe.probe_device(self.device, self.reserved)
                made = self._plan_for(spec, found.files, precision, device, stay=stay)
                family = self._family(spec, found.files, made)
        except torch.AcceleratorError:
            raise
        except Exception as e:  # noqa: BLE001  # see above
            error = self._load_error(spec.profile.title, e)
        else:
            held = bytes_by_device(family.pipe).get(made.on, 0)
            alone = replace(made, budget=made.budget + _held(beside, made.on))
            memory = ModelMemory(alone, _packed_bytes(found.files), max(held, made.weight_bytes))
            how = apply.quantisation(made)
            return LoadedModel(
                spec, family, made.precision, made.sentence, found.revision, memory, how, found.files.whole
            )
        # Outside of the except block, which keeps the tensors of the failed load alive.
        devices.release(self.device)
        raise error

    def unload(self, loaded: LoadedModel) -> None:
        """See ModelLoader."""
        loaded.family.close()
        devices.release(self.device)

    def add_control(self, loaded: LoadedModel, control: ControlSpec, beside: Sequence[LoadedModel] = ()) -> None:
        """See ModelLoader."""
        try:
            found = controlnets.locate(control, self._single_of, self._file_of)
            controlnets.check(found)
            dtype = apply.DTYPES[_memory(loaded).plan.compute]
            needed = found.parameters * dtype.itemsize
            self._make_room(loaded, control, needed, beside)
            assert isinstance(loaded.family, BatchedFamily)
            controlnets.load(found, loaded.family, dtype)
        except torch.AcceleratorError:
            raise
        except Exception as e:  # noqa: BLE001  # see above
            error = self._load_error(f"The ControlNet {control.title}", e).error
        else:
            _memory(loaded).controls += needed
            return
        # Outside of the except block, which keeps the tensors of the failed load alive.
        devices.release(self.device)
        raise error

    def drop_controls(self, loaded: LoadedModel) -> bool:
        """See ModelLoader."""
        if not isinstance(loaded.family, BatchedFamily) or not loaded.family.controls:
            return False
        loaded.family.controls.clear()
        _memory(loaded).controls = 0
        devices.release(self.device)
        return True

    def crowding(self, loaded: LoadedModel, width: int, height: int, others: Sequence[LoadedModel]) -> int:
        """See ModelLoader."""
        memory, profile, worth = _memory(loaded), loaded.spec.profile, catalogue.batch_of(width * height)
        try:
            alone = refit(memory, profile, width, height)
        except OutOfMemory:
            return 0
        for leaving in range(len(others)):
            taken = _held(others[leaving:], memory.plan.on)
            try:
                if refit(memory, profile, width, height, taken=taken).as_good_as(alone, worth):
                    return leaving
            except OutOfMemory:
                continue
        return len(others)

    def fit(self, loaded: LoadedModel, width: int, height: int, beside: Sequence[LoadedModel] = ()) -> int:
        """See ModelLoader."""
        memory = _memory(loaded)
        fitted = refit(memory, loaded.spec.profile, width, height, taken=_held(beside, memory.plan.on))
        if fitted.tile_vae:
            # Tiling stays on, since pictures of another size may be in progress.
            apply.tile(loaded.family.pipe, True)
            memory.plan = replace(memory.plan, tile_vae=True)
        return min(fitted.batch, loaded.family.max_batch or fitted.batch)

    def decodes_aside(
        self, loaded: LoadedModel, width: int, height: int, fits: int, beside: Sequence[LoadedModel] = ()
    ) -> bool:
        """See ModelLoader."""
        memory = _memory(loaded)
        batch = min(fits, GROWTH * catalogue.batch_of(width * height))
        taken = _held(beside, memory.plan.on)
        return room_to_decode(memory, loaded.spec.profile, width, height, batch=batch, taken=taken)

    def safer(self, precision: str) -> str | None:
        """See ModelLoader."""
        # The file can't be loaded in another precision.
        return None if precision in PACKED else safer(precision, probe.probe_device(self.device))

    def _find(self, spec: ModelSpec) -> _Found:
        """Return where the files are, downloading what is missing; raises FetchError."""
        revisions: list[str] = []
        selection = {need.source: need.selection for need in needs(spec)}

        def folder_of(source: str) -> str:
            if Path(source).is_dir():
                return source
            got = fetch(source, self.models_dir, self.report, selection=selection.get(source, WHOLE))
            revisions.append(got.revision)
            return got.path

        def file_of(source: str) -> str:
            if Path(source).is_absolute():
                return source
            got = fetch_file(source, self.models_dir, self.report)
            # The file that the model is named after gives the revision.
            revisions.insert(0, got.revision)
            return got.path

        located = files.locate(spec, folder_of, file_of)
        return _Found(located, revisions[0] if revisions else spec.revision)

    def _single_of(self, source: str) -> str:
        return source if Path(source).is_dir() else fetch_single(source, self.models_dir, self.report).path

    def _file_of(self, source: str) -> str:
        return source if Path(source).is_absolute() else fetch_file(source, self.models_dir, self.report).path

    def _make_room(self, loaded: LoadedModel, control: ControlSpec, needed: int, beside: Sequence[LoadedModel]) -> None:
        """Unload other ControlNets if this one does not fit with them. Raises OutOfMemory if it does not fit alone."""
        memory = _memory(loaded)
        room = memory.plan.budget - memory.plan.device_bytes - _held(beside, memory.plan.on)
        if memory.plan.offload in ("none", "text") and needed <= room:
            if needed > room - memory.controls:
                self.drop_controls(loaded)
            return
        title = loaded.spec.profile.title
        raise OutOfMemory(
            f"The ControlNet {control.title} takes {gib(needed)}, and there is no room for it beside {title} on "
            f"{self.title}: draw without it."
        )

    def _plan_for(self, spec: ModelSpec, located: files.Files, precision: str, device: Device, *, stay: bool) -> Plan:
        width, height = spec.profile.presets["square"]
        requested = precision or self.requested_precision
        made = plan(
            spec.profile,
            width,
            height,
            device,
            requested,
            probe.libraries(),
            packed=_packed_bytes(located),
            svdquant=svdquant.form_of_file(located.denoiser),
            stored=files.stored_weights(located),
        )
        if (stay or self.stay) and made.on == CPU != device.kind:
            how = f" in {precision}" if precision else ""
            raise OutOfMemory(f"{spec.profile.title} does not fit the memory of {self.title}{how}.")
        return made

    def _stay_as_good(self, staying: Sequence[LoadedModel], made: Plan) -> bool:
        """Whether models draw their native squares as well as alone when another one is on the device."""
        new = ModelMemory(made, weights=made.weight_bytes)
        for one in staying:
            memory, profile = _memory(one), one.spec.profile
            others = [other for other in staying if other is not one]
            taken = _held(others, memory.plan.on) + new.held(memory.plan.on)
            square = profile.presets["square"]
            try:
                if not refit(memory, profile, *square, taken=taken).as_good_as(
                    refit(memory, profile, *square), _worth(one.spec)
                ):
                    return False
            except OutOfMemory:
                return False
        return True

    def _without(self, removed: Sequence[LoadedModel], *, everything: bool = False) -> Device:
        """Return the device with the memory that would be free without these models; ``everything``: without all."""
        device = probe.probe_device(self.device, self.reserved)
        weights = bytes_by_device(*(model.family.pipe for model in removed))
        memories = [_memory(model) for model in removed]
        device_bytes = weights.get(device.kind, 0) + sum(memory.controls for memory in memories)
        host_bytes = weights.get(CPU, 0)
        if device.kind != CUDA:  # one memory for both
            both = device_bytes + (host_bytes if device.kind != CPU else 0)
            return replace(device, free=device.free + both, host_free=device.host_free + both)
        # Some kinds of offloading hide the weights from their modules.
        host_bytes = max(host_bytes, sum(memory.plan.host_bytes for memory in memories))
        if everything:
            device_bytes = max(device_bytes, torch.cuda.memory_allocated(self.device))
        return replace(
            device,
            free=min(device.free + device_bytes, device.total),
            host_free=device.host_free + host_bytes,
            pinnable=device.pinnable + host_bytes,
        )

    def _load_error(self, title: str, error: Exception) -> LoadError:
        """Return the LoadError for an exception, without the frames that keep its tensors alive."""
        passing = isinstance(error, FetchError) and error.passing
        match error:
            case EngineError():
                found = error
            case FetchError():
                found = UnknownModel(str(error))
            case _ if is_out_of_memory(error):
                found = OutOfMemory(f"{title} does not fit the memory of {self.title}.")
            case _:
                text = first_line(error).rstrip(".")
                found = EngineError(f"{title} can't be loaded ({type(error).__name__}: {text}); look at its files.")
        found.__cause__ = found.__context__ = None
        return LoadError(found.with_traceback(None), passing=passing)

    def _family(self, spec: ModelSpec, located: files.Files, made: Plan) -> Family[Any]:
        options = dict(apply.options(made, tuple(located.spec.parts)))
        dtype = options.pop("dtype")
        # The plan chooses the CPU where the GPU is too small.
        device = torch.device("cpu") if made.on == "cpu" else self.device
        kind = model_class(spec.profile.family)
        held = files.stored_weights(located)
        stored = {part: apply.DTYPES[held.formats[part]] for part in held.mapped}
        changes: dict[torch.nn.Module, list[LayerChange]] = {}
        with trimming() if made.quantises else nullcontext():
            pipe = assemble(located, spec.profile, dtype, stored=stored, changes=changes, **options)
            apply.settle(pipe, made, device, reorder=issubclass(kind, BatchedFamily), stored=stored, changes=changes)
        family: Family[Any] = kind(pipe, device)
        if isinstance(family, BatchedFamily):
            family.step_cache = StepCache(self.step_cache)
            family.clip_skip = spec.profile.clip_skip
        if self.compile_with:
            compile_blocks(family, self.compile_with, warm_recipe(spec), warm_references(spec))
        return family


def _memory(loaded: LoadedModel) -> ModelMemory:
    """Return the memory of a model that this loader has loaded."""
    assert loaded.memory is not None
    return loaded.memory


def _held(models: Sequence[LoadedModel], on: str) -> int:
    """Return the bytes of one memory that models hold between two pictures."""
    return sum(_memory(model).held(on) for model in models)


def _worth(spec: ModelSpec) -> int:
    """Return the most pictures of a model's native square that share a step."""
    width, height = spec.profile.presets["square"]
    return catalogue.batch_of(width * height)


def _packed_bytes(located: files.Files) -> int:
    """Return the size of the GGUF or SVDQuant file that holds the denoiser; 0 where there is none."""
    denoiser = located.denoiser
    return denoiser.stat().st_size if denoiser is not None and files.is_packed(denoiser) else 0


def warm_recipe(spec: ModelSpec) -> Recipe:
    """Return the warm-up picture of a model: its native square, in two steps."""
    profile = spec.profile
    width, height = profile.presets["square"]
    steps = max(profile.steps.low, min(profile.steps.default, _WARM_STEPS))
    return Recipe("warm", profile.name, "warm", "", width, height, steps, 0.0, 0)


def warm_references(spec: ModelSpec) -> tuple[NDArray[np.uint8], ...]:
    """Return the reference pictures of the warm-up picture: a grey one if the model draws nothing without."""
    width, height = spec.profile.presets["square"]
    return (np.full((height, width, 3), 128, np.uint8),) if spec.profile.needs_reference else ()


_REGISTERED_BY = {"tensorrt": "torch_tensorrt"}
"""Backends of ``torch.compile`` that an optional package registers when it is imported."""


def compile_blocks(
    family: Family[Any], backend: str, recipe: Recipe, references: Sequence[NDArray[np.uint8]] = ()
) -> bool:
    """Compile the denoiser's repeated blocks and try them; return whether they are used.

    Only the identical blocks are compiled, so that the compiler runs once for all of them. A failure (no compiler, no
    such backend) is logged and undone, and the model draws without compilation.

    Args:
        family: A loaded model.
        backend: Of ``torch.compile``, such as ``inductor`` or ``tensorrt``.
        recipe: A small picture, of which one step is drawn as a test.
        references: Its reference pictures.
    """
    denoiser = family.denoiser
    try:
        if backend in _REGISTERED_BY:
            import_module(_REGISTERED_BY[backend])
        denoiser.compile_repeated_blocks(backend=backend, dynamic=True)
        drawing = family.start(recipe, lambda encode, prompt, _="": encode(prompt), None, references)
        try:
            family.step([drawing])
        finally:
            drawing.close()
    except torch.AcceleratorError:
        raise
    except Exception as e:  # noqa: BLE001  # compilers raise many kinds of exceptions
        log.warning("EASEL_COMPILE=%s does not work here and is left out: %s", backend, " ".join(str(e).split())[:300])
        _undo(denoiser)
        return False
    return True


def _undo(denoiser: Any) -> None:
    for module in denoiser.modules():
        # The attribute in which nn.Module.compile stores its result; None means not compiled.
        module._compiled_call_impl = None  # noqa: SLF001
