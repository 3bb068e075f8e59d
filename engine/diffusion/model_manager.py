"""Keeps one model on the device, and loads another in its place when a request needs it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engine.backoff import Backoff
from engine.contract import BadRecipe, EngineError, OutOfMemory, UnknownModel
from engine.diffusion.fingerprint import setup_digest
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
    """

    spec: ModelSpec
    family: Family[Any]
    precision: str
    plan: str = ""
    revision: str = ""


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

    def check(self, spec: ModelSpec, precision: str, replaced: LoadedModel, *, stay: bool = False) -> None:
        """Find or download a model's files, check them and plan, as ``load`` would after ``unload(replaced)``.

        Args:
            spec: Which model.
            precision: As for ``load``.
            replaced: The model on the device, which is left as it is.
            stay: As for ``load``.

        Raises:
            LoadError: Its files are missing or damaged, or it does not fit.
        """

    def load(self, spec: ModelSpec, precision: str, *, stay: bool = False) -> LoadedModel:
        """Put a model on the device; if it raises, nothing of the model is left there.

        Args:
            spec: Which model.
            precision: Number format; empty: the one that its plan chooses.
            stay: Refuse a plan that draws on the CPU, unless the last model was drawn there too.

        Raises:
            LoadError: It can't be fetched or loaded.
        """

    def unload(self, loaded: LoadedModel) -> None:
        """Give its memory back."""

    def add_control(self, loaded: LoadedModel, control: ControlSpec) -> None:
        """Find or download a ControlNet, check it, and put it beside a model, in place of others if need be.

        Raises:
            EngineError: It can't be fetched or loaded, does not fit the model, or there is no room for it.
        """

    def drop_controls(self, loaded: LoadedModel) -> bool:
        """Give the memory of a model's ControlNets back; return whether there were any."""

    def fit(self, loaded: LoadedModel, width: int, height: int) -> int:
        """Prepare a model for pictures of this size; return how many fit together. Raises OutOfMemory."""

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


class ModelManager:
    """Holds one model at a time. Implements ``engine.diffusion.executor.ModelProvider``.

    Args:
        specs: The models that can be asked for; the first is the default.
        loader: Loads them.
        listener: Receives each change.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        specs: Sequence[ModelSpec],
        loader: ModelLoader,
        listener: LoadListener,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._specs: Mapping[str, ModelSpec] = {spec.profile.name: spec for spec in specs}
        self._default = specs[0].profile.name
        self._setups = {spec.profile.name: setup_digest(spec) for spec in specs}
        self._loader = loader
        self._listener = listener
        self._now: LoadedModel | None = None
        self._wanted = ""
        self._defaults: dict[str, str] = {}
        self._fits: dict[tuple[int, int], int] = {}
        self._revisions: dict[str, str] = {}
        self._backoffs: defaultdict[tuple[str, str], Backoff] = defaultdict(
            lambda: Backoff(FIRST_PAUSE, LONGEST_PAUSE, clock)
        )
        self._refused: dict[tuple[str, str], EngineError] = {}

    @property
    def loaded(self) -> str:
        """Name of the model that is on the device; empty for none."""
        return "" if self._now is None else self._now.spec.profile.name

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
        now = self._now
        # The requested precision may be unavailable (a GGUF file has one); do not reload.
        if now is None or now.spec is not spec or wanted not in ("", now.precision, self._wanted):
            try:
                now = self._replace(spec, wanted)
            except LoadError as e:
                if key.precision or not wanted or not isinstance(e.error, OutOfMemory):
                    raise e.error from None
                now = self._choose_again(spec, wanted)
        if key.control:
            self._add_control(now, key.control)
        size = (key.width, key.height)
        if size not in self._fits:
            self._fits[size] = self._fit(now, size, controlled=bool(key.control))
        return now.family

    def precision(self, key: BatchKey) -> str:
        """The precision in which requests with this key are drawn; empty until their model is loaded."""
        return key.precision or self._defaults.get(key.model, "")

    def revision(self, model: str) -> str:
        """Commit of the model's files; empty if they have none."""
        return self._revisions.get(model, "")

    def setup(self, model: str) -> str:
        """Digest of the model's files by name, its LoRAs and its scheduler."""
        return self._setups[model]

    def reference_pixels(self, model: str) -> int:
        """Most pixels of a reference picture: the area of the model's largest square."""
        return self._specs[model].profile.side.high ** 2

    def max_batch(self, key: BatchKey) -> int:
        """How many pictures with this key fit the device together; at least 1."""
        now = self._now
        if now is None or key.model != self.loaded or self.precision(key) not in (now.precision, self._wanted):
            return 1
        return self._fits.get((key.width, key.height), 1)

    def safer_precision(self, key: BatchKey) -> str | None:
        """The next precision in which numbers overflow later; None if there is none."""
        return self._loader.safer(self.precision(key))

    def set_default_precision(self, model: str, precision: str) -> None:
        """Draw the model in this precision from now on, unless a request names another one."""
        if self._defaults.get(model) != precision:
            before = self._defaults.get(model, "its usual precision")
            self._listener.on_notice(f"{model} draws in {precision} from now on, since {before} spoiled a picture.")
        self._defaults[model] = precision

    def unload(self) -> None:
        """Give the device's memory back; the next request loads its model again."""
        if self._now is not None:
            self._loader.unload(self._now)
            self._now = None
            self._fits.clear()

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
            self._loader.add_control(now, control)
        except EngineError as e:
            self._listener.on_load_failed(now, str(e))
            raise
        self._fits.clear()
        self._listener.on_loaded(now, time.monotonic() - began)

    def _fit(self, now: LoadedModel, size: tuple[int, int], *, controlled: bool) -> int:
        """Return how many pictures of a size fit; ControlNets make room for pictures without control."""
        try:
            return self._loader.fit(now, *size)
        except OutOfMemory:
            if controlled or not self._loader.drop_controls(now):
                raise
        self._fits.clear()
        return self._loader.fit(now, *size)

    def _replace(self, spec: ModelSpec, precision: str) -> LoadedModel:
        """Load a model in place of the current one, which stays or is loaded again if that fails.

        Raises LoadError.
        """
        before, key = self._now, (spec.profile.name, precision)
        # Another precision of the same model must not move it from the card to the much slower CPU.
        stay = before is not None and before.spec is spec and bool(precision)
        what = f"{spec.profile.name} in {precision}" if precision else spec.profile.name
        if before is not None:
            if self._backoffs[key].resting:
                raise LoadError(self._refused[key])
            try:
                self._loader.check(spec, precision, before, stay=stay)
            except LoadError as e:
                self._listener.on_load_failed(
                    before, _sentence(what, e.error, f"{before.spec.profile.name} stays loaded")
                )
                raise
        try:
            now = self._put(spec, precision, stay=stay)
        except LoadError as e:
            failed = e
        else:
            self._backoffs[key].succeed()
            return now
        # Outside of the except block, which would keep the failed load's tensors alive.
        if before is None:
            self._listener.on_load_failed(
                None, _sentence(what, failed.error, "no model is loaded until the next request")
            )
        else:
            # Each further try would unload a model that works.
            self._backoffs[key].fail()
            self._refused[key] = failed.error
            self._put_back(before, what, failed.error)
        raise failed

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
        began = time.monotonic()
        self._listener.on_loading(spec)
        self.unload()
        self._now = now = self._loader.load(spec, precision, stay=stay)
        self._wanted = precision
        name = spec.profile.name
        self._defaults.setdefault(name, now.precision)
        self._revisions[name] = now.revision
        self._listener.on_loaded(now, time.monotonic() - began)
        return now


def _sentence(what: str, error: EngineError, then: str) -> str:
    return f"{what} can't be loaded: {str(error).rstrip('.')}; {then}."
