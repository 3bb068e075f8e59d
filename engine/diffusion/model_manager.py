"""Which model is on the device: loads it when it is asked for, in place of the one that is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.contract import EngineError, OutOfMemory, UnknownModel
from engine.diffusion.ration import Ration
from engine.diffusion.step_scheduler import BatchKey
from engine.families.base import Family
from engine.spec import ModelSpec

FIRST_PAUSE = 60.0
"""Seconds until a model whose load failed after another was unloaded for it may take that one's place again."""

LONGEST_PAUSE = 3600.0
"""The longest such pause in seconds; each failure doubles it."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model on its device.

    Attributes:
        spec: Which model.
        family: It.
        precision: Number format of its weights.
        plan: How it was fitted to the device, in one sentence.
        revision: Commit of its files; empty when they have none.
    """

    spec: ModelSpec
    family: Family
    precision: str
    plan: str = ""
    revision: str = ""


class LoadError(Exception):
    """The model can't be had or loaded.

    Attributes:
        error: Why, in one sentence.
        passing: It may work later as things are.
    """

    def __init__(self, error: EngineError, *, passing: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.passing = passing


class Loads(Protocol):
    """What the keeper asks of the loader."""

    def check(self, spec: ModelSpec, precision: str, replaced: LoadedModel, *, stay: bool = False) -> None:
        """Find or download a model's files, look at them and plan, as ``load`` would after ``unload(replaced)``.

        Args:
            spec: Which model.
            precision: As for ``load``.
            replaced: The model on the device, which is left as it is.
            stay: As for ``load``.

        Raises:
            LoadError: Its files are missing or damaged, or it does not fit.
        """

    def load(self, spec: ModelSpec, precision: str, *, stay: bool = False) -> LoadedModel:
        """Put a model on the device; when it raises, nothing of the model is left there.

        Args:
            spec: Which model.
            precision: In which precision; empty: in the one that its plan chooses.
            stay: A plan that draws on the CPU is refused, unless the last model was drawn there too.

        Raises:
            LoadError: It can't be had or loaded.
        """

    def unload(self, loaded: LoadedModel) -> None:
        """Give its memory back."""

    def fit(self, loaded: LoadedModel, width: int, height: int) -> int:
        """Make it fit for pictures of this size; return how many of them fit together. Raises OutOfMemory."""

    def safer(self, precision: str) -> str | None:
        """The next precision in which numbers overflow later; None when there is none."""


class LoadListener(Protocol):
    """Hears what the keeper does."""

    def on_loading(self, spec: ModelSpec) -> None:
        """A model is being put on the device."""

    def on_loaded(self, loaded: LoadedModel, seconds: float) -> None:
        """It is there; it took so many seconds."""

    def on_load_failed(self, loaded: LoadedModel | None, problem: str) -> None:
        """A model can't be loaded, and this one is still or again on the device, or none; one sentence says why."""

    def on_notice(self, text: str) -> None:
        """Something happened that the operator should know; one sentence."""


class ModelManager:
    """One model at a time. Obeys ``engine.diffusion.executor.Models``.

    Args:
        specs: The models that can be asked for; the first is the default.
        loader: Loads them.
        tells: Told of each change.
        clock: Seconds by a clock that never goes back.
    """

    def __init__(
        self,
        specs: Sequence[ModelSpec],
        loader: Loads,
        tells: LoadListener,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._specs: Mapping[str, ModelSpec] = {spec.profile.name: spec for spec in specs}
        self._default = specs[0].profile.name
        self._loader = loader
        self._tells = tells
        self._now: LoadedModel | None = None
        self._wanted = ""
        self._usual: dict[str, str] = {}
        self._fits: dict[tuple[int, int], int] = {}
        self._revisions: dict[str, str] = {}
        self._ration = Ration(FIRST_PAUSE, LONGEST_PAUSE, clock)
        self._refused: dict[tuple[str, str], EngineError] = {}

    @property
    def loaded(self) -> str:
        """Name of the model that is on the device; empty for none."""
        return "" if self._now is None else self._now.spec.profile.name

    def first(self) -> LoadedModel:
        """Load the default model. Raises LoadError."""
        return self._put(self._specs[self._default], "")

    def family(self, kind: BatchKey) -> Family:
        """Return the model of a kind, on the device and fit for this size.

        Raises:
            EngineError: It can't be loaded, or does not fit.
        """
        spec = self._specs.get(kind.model)
        if spec is None:
            raise UnknownModel(f"There is no model {kind.model!r} here.")
        wanted = kind.precision or self._usual.get(kind.model, "")
        now = self._now
        # What was wanted may not be to be had (a GGUF file is what it is): asking again would not change that.
        if now is None or now.spec is not spec or wanted not in ("", now.precision, self._wanted):
            try:
                now = self._replace(spec, wanted)
            except LoadError as e:
                if kind.precision or not wanted or not isinstance(e.error, OutOfMemory):
                    raise e.error from None
                now = self._choose_again(spec, wanted)
        size = (kind.width, kind.height)
        if size not in self._fits:
            self._fits[size] = self._loader.fit(now, *size)
        return now.family

    def precision(self, kind: BatchKey) -> str:
        """In which precision this kind is drawn; empty while its model was never loaded."""
        return kind.precision or self._usual.get(kind.model, "")

    def revision(self, model: str) -> str:
        """Commit of the model's files; empty when they have none."""
        return self._revisions.get(model, "")

    def most(self, kind: BatchKey) -> int:
        """How many pictures of this kind fit the device together; at least 1."""
        now = self._now
        if now is None or kind.model != self.loaded or self.precision(kind) not in (now.precision, self._wanted):
            return 1
        return self._fits.get((kind.width, kind.height), 1)

    def safer(self, kind: BatchKey) -> str | None:
        """The next precision in which numbers overflow later; None when there is none."""
        return self._loader.safer(self.precision(kind))

    def settle(self, model: str, precision: str) -> None:
        """From now on this precision is the model's usual one."""
        if self._usual.get(model) != precision:
            before = self._usual.get(model, "its usual precision")
            self._tells.on_notice(f"{model} draws in {precision} from now on, since {before} spoiled a picture.")
        self._usual[model] = precision

    def unload(self) -> None:
        """Give the device's memory back; the next kind that is asked for is loaded again."""
        if self._now is not None:
            self._loader.unload(self._now)
            self._now = None
            self._fits.clear()

    def _replace(self, spec: ModelSpec, precision: str) -> LoadedModel:
        """Put a model in the place of the one that is there, which stays or comes back when that fails.

        Raises LoadError.
        """
        before, key = self._now, (spec.profile.name, precision)
        # Another precision of a model is no reason to leave the card, where it draws many times as fast.
        stay = before is not None and before.spec is spec and bool(precision)
        what = f"{spec.profile.name} in {precision}" if precision else spec.profile.name
        if before is not None:
            if self._ration.left(key):
                raise LoadError(self._refused[key])
            try:
                self._loader.check(spec, precision, before, stay=stay)
            except LoadError as e:
                self._tells.on_load_failed(before, _sentence(what, e.error, f"{before.spec.profile.name} stays loaded"))
                raise
        try:
            now = self._put(spec, precision, stay=stay)
        except LoadError as e:
            failed = e
        else:
            self._ration.forget(key)
            return now
        # Outside of the except block, which would keep the failed load's tensors alive.
        if before is None:
            self._tells.on_load_failed(None, _sentence(what, failed.error, "no model is loaded until the next request"))
        else:
            # Each further try would unload what works.
            self._ration.take(key)
            self._refused[key] = failed.error
            self._put_back(before, what, failed.error)
        raise failed

    def _put_back(self, before: LoadedModel, what: str, error: EngineError) -> None:
        """Load again what was unloaded for a model that could not be loaded after all."""
        name = before.spec.profile.name
        try:
            now = self._put(before.spec, before.precision)
        except LoadError as e:
            then = f"{name} could not be loaded again either ({e.error}) and is tried at the next request"
            self._tells.on_load_failed(None, _sentence(what, error, then))
        else:
            self._tells.on_load_failed(now, _sentence(what, error, f"{name} was loaded again"))

    def _choose_again(self, spec: ModelSpec, wanted: str) -> LoadedModel:
        """Load a model whose usual precision does not fit any more in the one that its plan chooses now.

        Raises EngineError.
        """
        try:
            now = self._replace(spec, "")
        except LoadError as e:
            raise e.error from None
        name = spec.profile.name
        self._tells.on_notice(f"{name} does not fit in {wanted} any more and draws in {now.precision} from now on.")
        self._usual[name] = now.precision
        return now

    def _put(self, spec: ModelSpec, precision: str, *, stay: bool = False) -> LoadedModel:
        began = time.monotonic()
        self._tells.on_loading(spec)
        self.unload()
        self._now = now = self._loader.load(spec, precision, stay=stay)
        self._wanted = precision
        name = spec.profile.name
        self._usual.setdefault(name, now.precision)
        self._revisions[name] = now.revision
        self._tells.on_loaded(now, time.monotonic() - began)
        return now


def _sentence(what: str, error: EngineError, then: str) -> str:
    return f"{what} can't be loaded: {str(error).rstrip('.')}; {then}."
