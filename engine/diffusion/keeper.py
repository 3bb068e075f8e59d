"""Which model is on the device: loads it when it is asked for, in place of the one that is there."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.contract import EngineError, UnknownModel
from engine.diffusion.families.base import Family
from engine.diffusion.turns import Kind
from engine.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Loaded:
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


class Loads(Protocol):
    """What the keeper asks of the loader."""

    def load(self, spec: ModelSpec, precision: str) -> Loaded:
        """Put a model on the device in a precision, or, where it is empty, in the one that its plan chooses.

        Raises CantLoad.
        """

    def unload(self, loaded: Loaded) -> None:
        """Give its memory back."""

    def fit(self, loaded: Loaded, width: int, height: int) -> int:
        """Make it fit for pictures of this size; return how many of them fit together. Raises OutOfMemory."""

    def safer(self, precision: str) -> str | None:
        """The next precision in which numbers overflow later; None when there is none."""


class Tells(Protocol):
    """Hears what the keeper does."""

    def loading(self, spec: ModelSpec) -> None:
        """A model is being put on the device."""

    def loaded(self, loaded: Loaded, seconds: float) -> None:
        """It is there; it took so many seconds."""


class Keeper:
    """One model at a time. Obeys ``engine.diffusion.painter.Models``.

    Args:
        specs: The models that can be asked for; the first is the default.
        loader: Loads them.
        tells: Told of each change.
    """

    def __init__(self, specs: Sequence[ModelSpec], loader: Loads, tells: Tells) -> None:
        self._specs: Mapping[str, ModelSpec] = {spec.profile.name: spec for spec in specs}
        self._default = specs[0].profile.name
        self._loader = loader
        self._tells = tells
        self._now: Loaded | None = None
        self._wanted = ""
        self._usual: dict[str, str] = {}
        self._fits: dict[tuple[int, int], int] = {}
        self._revisions: dict[str, str] = {}

    @property
    def loaded(self) -> str:
        """Name of the model that is on the device; empty for none."""
        return "" if self._now is None else self._now.spec.profile.name

    def first(self) -> Loaded:
        """Load the default model. Raises CantLoad."""
        return self._load(self._specs[self._default], "")

    def family(self, kind: Kind) -> Family:
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
                now = self._load(spec, wanted)
            except CantLoad as e:
                raise e.error from e
        size = (kind.width, kind.height)
        if size not in self._fits:
            self._fits[size] = self._loader.fit(now, *size)
        return now.family

    def precision(self, kind: Kind) -> str:
        """In which precision this kind is drawn; empty while its model was never loaded."""
        return kind.precision or self._usual.get(kind.model, "")

    def revision(self, model: str) -> str:
        """Commit of the model's files; empty when they have none."""
        return self._revisions.get(model, "")

    def most(self, kind: Kind) -> int:
        """How many pictures of this kind fit the device together; at least 1."""
        return self._fits.get((kind.width, kind.height), 1) if kind.model == self.loaded else 1

    def safer(self, kind: Kind) -> str | None:
        """The next precision in which numbers overflow later; None when there is none."""
        return self._loader.safer(self.precision(kind))

    def settle(self, model: str, precision: str) -> None:
        """From now on this precision is the model's usual one."""
        self._usual[model] = precision

    def unload(self) -> None:
        """Give the device's memory back; the next kind that is asked for is loaded again."""
        if self._now is not None:
            self._loader.unload(self._now)
            self._now = None
            self._fits.clear()

    def _load(self, spec: ModelSpec, precision: str) -> Loaded:
        began = time.monotonic()
        self._tells.loading(spec)
        self.unload()
        self._now = now = self._loader.load(spec, precision)
        self._wanted = precision
        name = spec.profile.name
        self._usual.setdefault(name, now.precision)
        self._revisions[name] = now.revision
        self._tells.loaded(now, time.monotonic() - began)
        return now
