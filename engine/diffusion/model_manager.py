"""Keeps models on the device while they fit together, and unloads the least recently used for another one."""

from __future__ import annotations

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from engine.backoff import Backoff
from engine.contract import BadRecipe, EngineError, OutOfMemory, UnknownModel
from engine.diffusion.checkpoint_hashes import CheckpointHashes
from engine.diffusion.fingerprint import setup_digest
from engine.diffusion.memory.types import CPU, ModelMemory
from engine.diffusion.request_state import BatchKey
from engine.families.batched import BatchedFamily
from engine.families.family import Family
from engine.spec import ControlSpec, ModelSpec

FIRST_PAUSE = 60.0
"""Seconds until a model is loaded again after another one was unloaded for it and its load failed."""

LONGEST_PAUSE = 3600.0
"""The longest such pause in seconds; each failure doubles it."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model on its device.

    Attributes:
        spec: Which model.
        family: Its pipeline.
        precision: Number format of its weights.
        plan: How it was fitted to the device, in one sentence.
        revision: Commit of its files; empty if they have none.
        memory: What it takes of the device and of main memory; known to the loader that made it.
        quantisation: How its weights are quantised and by what; empty where they are not.
        checkpoint: The single file with all its weights; None where it is a folder.
    """

    spec: ModelSpec
    family: Family[Any]
    precision: str
    plan: str = ""
    revision: str = ""
    memory: ModelMemory | None = None
    quantisation: str = ""
    checkpoint: Path | None = None


class LoadError(Exception):
    """A model can't be fetched or loaded.

    Attributes:
        error: Why, in one sentence.
        passing: A later try may succeed without any change.
    """

    def __init__(self, error: EngineError, *, passing: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.passing = passing


class ModelLoader(Protocol):
    """What the model manager needs of the loader."""

    def check(self, spec: ModelSpec, precision: str, resident: Sequence[LoadedModel], *, stay: bool = False) -> int:
        """Find or download a model's files, check them and plan.

        Args:
            spec: Which model.
            precision: As for ``load``.
            resident: The models on the device, which are left as they are, in the order in which they would be unloaded.
            stay: As for ``load``.

        Returns:
            How many of the first of them have to be unloaded, so that the model is placed as it would be alone, and
            the others can be drawn as well as before.

        Raises:
            LoadError: Its files are missing or damaged, or it does not fit, though all were unloaded.
        """

    def load(
        self, spec: ModelSpec, precision: str, beside: Sequence[LoadedModel] = (), *, stay: bool = False
    ) -> LoadedModel:
        """Put a model on the device; if it raises, nothing of the model is left there.

        Args:
            spec: Which model.
            precision: Number format; empty: the one that its plan chooses.
            beside: The models that stay on the device.
            stay: Refuse a plan that draws on the CPU.

        Raises:
            LoadError: It can't be fetched or loaded.
        """

    def unload(self, loaded: LoadedModel) -> None:
        """Give its memory back."""

    def add_control(self, loaded: LoadedModel, control: ControlSpec, beside: Sequence[LoadedModel] = ()) -> None:
        """Find or download a ControlNet, check it, and put it with a model, in place of others if need be.

        Args:
            loaded: The model.
            control: The ControlNet.
            beside: The other models on the device.

        Raises:
            EngineError: It can't be fetched or loaded, does not fit the model, or there is no room for it.
        """

    def drop_controls(self, loaded: LoadedModel) -> bool:
        """Give the memory of a model's ControlNets back; return whether there were any."""

    def crowding(self, loaded: LoadedModel, width: int, height: int, others: Sequence[LoadedModel]) -> int:
        """Return how many of the first of the other models have to be unloaded, so that pictures of this size are drawn
        as they would be without any of them.
        """

    def fit(self, loaded: LoadedModel, width: int, height: int, beside: Sequence[LoadedModel] = ()) -> int:
        """Prepare a model for pictures of this size, with other models on the device; return how many fit together.

        Raises:
            OutOfMemory: None does.
        """

    def decodes_aside(
        self, loaded: LoadedModel, width: int, height: int, fits: int, beside: Sequence[LoadedModel] = ()
    ) -> bool:
        """Return whether there is room to decode a picture of this size while as many as fit take a step."""

    def safer(self, precision: str) -> str | None:
        """The next precision in which numbers overflow later; None if there is none."""


class LoadListener(Protocol):
    """Receives what the model manager does."""

    def on_loading(self, spec: ModelSpec) -> None:
        """A model is being loaded."""

    def on_loaded(self, loaded: LoadedModel, seconds: float) -> None:
        """A model was loaded; ``seconds`` is how long it took."""

    def on_load_failed(self, loaded: LoadedModel | None, problem: str) -> None:
        """A model can't be loaded, for a reason in one sentence; ``loaded`` is on the device now, or None."""

    def on_notice(self, text: str) -> None:
        """Something happened that the operator should know, in one sentence."""


@dataclass(frozen=True, slots=True)
class _Resident:
    """A model on the device, and the precision that was asked for, which it may not have (a GGUF file has one)."""

    model: LoadedModel
    wanted: str

    def serves(self, precision: str) -> bool:
        """Whether it is what a request for this precision gets."""
        return precision in ("", self.model.precision, self.wanted)


class ModelManager:
    """Holds as many models as fit together; the least recently used one makes way.

    A model is loaded beside others where it is placed as it would be alone and they are drawn as before. Implements
    ``engine.diffusion.executor.ModelProvider``.

    Args:
        specs: The models that can be asked for; the first is the default.
        loader: Loads them.
        listener: Receives each change.
        clock: Monotonic seconds.
        hashes: Hashes of checkpoint files; those of this object alone where it is not given.
    """

    def __init__(
        self,
        specs: Sequence[ModelSpec],
        loader: ModelLoader,
        listener: LoadListener,
        *,
        clock: Callable[[], float] = time.monotonic,
        hashes: CheckpointHashes | None = None,
    ) -> None:
        self._specs: Mapping[str, ModelSpec] = {spec.profile.name: spec for spec in specs}
        self._default = specs[0].profile.name
        self._setups = {spec.profile.name: setup_digest(spec) for spec in specs}
        self._loader = loader
        self._listener = listener
        self._resident: OrderedDict[str, _Resident] = OrderedDict()  # the least recently used first
        self._crowded = Backoff(FIRST_PAUSE, LONGEST_PAUSE, clock)
        self._defaults: dict[str, str] = {}
        self._fits: dict[tuple[str, int, int], int] = {}
        self._revisions: dict[str, str] = {}
        self._hashes = hashes or CheckpointHashes()
        self._backoffs: defaultdict[tuple[str, str], Backoff] = defaultdict(
            lambda: Backoff(FIRST_PAUSE, LONGEST_PAUSE, clock)
        )
        self._refused: dict[tuple[str, str], EngineError] = {}

    @property
    def loaded(self) -> str:
        """Name of the model that was used last; empty if none is on the device."""
        return next(reversed(self._resident), "")

    @property
    def resident(self) -> Collection[str]:
        """Names of the models on the device."""
        return self._resident.keys()

    def load_default(self) -> LoadedModel:
        """Load the default model. Raises LoadError."""
        return self._put(self._specs[self._default], "")

    def family(self, key: BatchKey) -> Family[Any]:
        """Return a model, loaded and prepared for the size of the key.

        Raises:
            EngineError: It can't be loaded, or does not fit.
        """
        spec = self._specs.get(key.model)
        if spec is None:
            raise UnknownModel(f"There is no model {key.model!r} here.")
        wanted = key.precision or self._defaults.get(key.model, "")
        found = self._resident.get(key.model)
        if found is not None and found.serves(wanted):
            now = found.model
            self._use(now)
        else:
            try:
                now = self._replace(spec, wanted)
            except LoadError as e:
                if key.precision or not wanted or not isinstance(e.error, OutOfMemory):
                    raise e.error from None
                now = self._choose_again(spec, wanted)
        if key.control:
            self._add_control(now, key.control)
        size = (key.model, key.width, key.height)
        if size not in self._fits:
            fits = self._fit(now, key.width, key.height, controlled=bool(key.control))
            self._fits[size] = fits
        return now.family

    def resident_family(self, model: str) -> Family[Any] | None:
        """A model that is on the device, in the precision that it has; None if it is not there. No use is counted."""
        found = self._resident.get(model)
        return None if found is None else found.model.family

    def load(self, model: str) -> Family[Any]:
        """Return a model for its text encoder alone, loaded if it is not on the device. Raises EngineError.

        One that is there is returned as it is: room for its pictures might cost another model its place.
        """
        if (found := self.resident_family(model)) is not None:
            return found
        spec = self._specs.get(model)
        if spec is None:
            raise UnknownModel(f"There is no model {model!r} here.")
        return self.family(BatchKey(model, *spec.profile.presets["square"]))

    def precision(self, key: BatchKey) -> str:
        """The precision in which requests with this key are drawn; empty until their model is loaded."""
        return key.precision or self._defaults.get(key.model, "")

    def revision(self, model: str) -> str:
        """Commit of the model's files; empty if they have none."""
        return self._revisions.get(model, "")

    def checkpoint_hash(self, model: str) -> str:
        """See ``CheckpointHashes.of``."""
        return self._hashes.of(model)

    def setup(self, model: str) -> str:
        """Digest of the model's files by name, its LoRAs and its scheduler."""
        return self._setups[model]

    def quantisation(self, model: str) -> str:
        """How the weights of a model on the device are quantised and by what; empty where they are not."""
        found = self._resident.get(model)
        return "" if found is None else found.model.quantisation

    def reference_pixels(self, model: str) -> int:
        """Most pixels of a reference picture: the area of the model's largest square."""
        return self._specs[model].profile.side.high ** 2

    def max_batch(self, key: BatchKey) -> int:
        """How many pictures with this key fit the device together; at least 1."""
        found = self._resident.get(key.model)
        if found is None or not found.serves(self.precision(key)):
            return 1
        return self._fits.get((key.model, key.width, key.height), 1)

    def decodes_aside(self, key: BatchKey) -> bool:
        """Whether there is room to decode a picture while others of its size take a step."""
        found = self._resident.get(key.model)
        if found is None:
            return False
        fits = self.max_batch(key)
        return self._loader.decodes_aside(found.model, key.width, key.height, fits, self._others(key.model))

    def safer_precision(self, key: BatchKey) -> str | None:
        """The next precision in which numbers overflow later; None if there is none."""
        return self._loader.safer(self.precision(key))

    def set_default_precision(self, model: str, precision: str) -> None:
        """Draw the model in this precision from now on, unless a request names another one."""
        if self._defaults.get(model) != precision:
            before = self._defaults.get(model, "its usual precision")
            self._listener.on_notice(f"{model} draws in {precision} from now on, since {before} spoiled a picture.")
        self._defaults[model] = precision

    def tiles(self, model: str) -> bool:
        """Whether the VAE of a model on the device works in tiles by its plan."""
        found = self._resident.get(model)
        return found is not None and found.model.memory is not None and found.model.memory.plan.tile_vae

    def make_room(self, model: str) -> bool:
        """Unload the least recently used other model, since memory ran out; False if there is none.

        For a while no model is loaded beside another one.
        """
        others = self._others(model)
        if not others:
            return False
        self._crowded.fail()
        self._remove(others[0])
        self._listener.on_notice(f"{others[0].spec.profile.name} was unloaded, since the device's memory was short.")
        return True

    def unload(self) -> None:
        """Give the device's memory back; the next request loads its model again."""
        for found in list(self._resident.values()):
            self._remove(found.model)

    def _others(self, model: str) -> list[LoadedModel]:
        """Return the models on the device but for one, the least recently used first."""
        return [found.model for name, found in self._resident.items() if name != model]

    def _use(self, now: LoadedModel) -> None:
        """Make a model that is on the device the one that was used last."""
        name = now.spec.profile.name
        if name != self.loaded:
            self._resident.move_to_end(name)
            self._listener.on_loaded(now, 0.0)

    def _remove(self, loaded: LoadedModel) -> None:
        """Unload a model."""
        del self._resident[loaded.spec.profile.name]
        self._fits.clear()
        self._loader.unload(loaded)

    def _add_control(self, now: LoadedModel, kind: str) -> None:
        """Load a ControlNet of this kind, unless one is there. Raises EngineError."""
        family, spec = now.family, now.spec
        if isinstance(family, BatchedFamily) and kind in family.controls:
            return
        control = next((control for control in spec.controls if kind in control.kinds), None)
        if control is None or not isinstance(family, BatchedFamily):
            raise BadRecipe(f"{spec.profile.title} has no ControlNet for {kind!r}; add one to models.toml.")
        began = time.monotonic()
        self._listener.on_loading(spec)
        try:
            self._loader.add_control(now, control, self._others(spec.profile.name))
        except EngineError as e:
            self._listener.on_load_failed(now, str(e))
            raise
        self._fits.clear()
        self._listener.on_loaded(now, time.monotonic() - began)

    def _fit(self, now: LoadedModel, width: int, height: int, *, controlled: bool) -> int:
        """Return how many pictures of a size fit; ControlNets make room for pictures without control, and other models."""
        name = now.spec.profile.name
        others = self._others(name)
        for other in others[: self._loader.crowding(now, width, height, others)]:
            self._remove(other)
        try:
            return self._loader.fit(now, width, height, self._others(name))
        except OutOfMemory:
            if controlled or not self._loader.drop_controls(now):
                raise
        self._fits.clear()
        return self._loader.fit(now, width, height, self._others(name))

    def _replace(self, spec: ModelSpec, precision: str) -> LoadedModel:
        """Load a model, and unload those that it has no room beside, which stay or are loaded again if that fails.

        Raises LoadError.
        """
        name, key = spec.profile.name, (spec.profile.name, precision)
        what = f"{name} in {precision}" if precision else name
        same = self._resident.get(name)
        if not self._resident:
            try:
                return self._put(spec, precision)
            except LoadError as e:
                failed = e
            self._listener.on_load_failed(
                None, _sentence(what, failed.error, "no model is loaded until the next request")
            )
            raise failed
        if self._backoffs[key].resting:
            raise LoadError(copy(self._refused[key]))
        # Another precision of the same model must not move it from the card to the much slower CPU.
        stay = same is not None and bool(precision) and (same.model.memory is None or same.model.memory.plan.on != CPU)
        leaving = self._leaving(spec, precision, what, stay=stay)
        last = leaving[-1] if leaving else None
        for model in leaving:
            self._remove(model)
        while True:
            try:
                now = self._put(spec, precision, stay=stay)
            except LoadError as e:
                failed = e
            else:
                self._backoffs[key].succeed()
                return now
            # Outside of the except block, which would keep the failed load's tensors alive.
            if not self._resident or not isinstance(failed.error, OutOfMemory):
                break
            last = self._others(name)[0]
            self._remove(last)
        if last is None:
            staying = next(reversed(self._resident.values())).model
            self._listener.on_load_failed(staying, _stays(what, failed.error, staying))
        else:
            # Each further try would unload a model that works.
            self._backoffs[key].fail()
            # An error that was raised holds the frames that it went through, with their requests.
            self._refused[key] = copy(failed.error)
            self._put_back(last, what, failed.error)
        raise failed

    def _leaving(self, spec: ModelSpec, precision: str, what: str, *, stay: bool) -> list[LoadedModel]:
        """Return the models that make way for another one, the one that was used last at the end. Raises LoadError."""
        same = self._resident.get(spec.profile.name)
        resident = ([] if same is None else [same.model]) + self._others(spec.profile.name)
        try:
            count = self._loader.check(spec, precision, resident, stay=stay)
        except LoadError as e:
            staying = next(reversed(self._resident.values())).model
            self._listener.on_load_failed(staying, _stays(what, e.error, staying))
            raise
        if self._crowded.resting:
            count = len(resident)
        leaving = resident[: max(count, same is not None)]
        return [model for model in leaving if same is None or model is not same.model] + (
            [] if same is None else [same.model]
        )

    def _put_back(self, before: LoadedModel, what: str, error: EngineError) -> None:
        """Load a model again that was unloaded for one that could not be loaded."""
        name = before.spec.profile.name
        try:
            now = self._put(before.spec, before.precision)
        except LoadError as e:
            then = f"{name} could not be loaded again either ({e.error}) and is tried at the next request"
            self._listener.on_load_failed(None, _sentence(what, error, then))
        else:
            self._listener.on_load_failed(now, _sentence(what, error, f"{name} was loaded again"))

    def _choose_again(self, spec: ModelSpec, wanted: str) -> LoadedModel:
        """Load a model whose default precision no longer fits, in the one that its plan chooses now.

        Raises EngineError.
        """
        try:
            now = self._replace(spec, "")
        except LoadError as e:
            raise e.error from None
        name = spec.profile.name
        self._listener.on_notice(f"{name} does not fit in {wanted} any more and draws in {now.precision} from now on.")
        self._defaults[name] = now.precision
        return now

    def _put(self, spec: ModelSpec, precision: str, *, stay: bool = False) -> LoadedModel:
        """Load a model beside those that are on the device. Raises LoadError."""
        began = time.monotonic()
        self._listener.on_loading(spec)
        name = spec.profile.name
        now = self._loader.load(spec, precision, self._others(name), stay=stay)
        self._resident[name] = _Resident(now, precision)
        self._fits.clear()
        self._defaults.setdefault(name, now.precision)
        self._revisions[name] = now.revision
        self._hashes.begin(name, now.checkpoint)
        self._listener.on_loaded(now, time.monotonic() - began)
        return now


def _stays(what: str, error: EngineError, staying: LoadedModel) -> str:
    return _sentence(what, error, f"{staying.spec.profile.name} stays loaded")


def _sentence(what: str, error: EngineError, then: str) -> str:
    return f"{what} can't be loaded: {str(error).rstrip('.')}; {then}."
