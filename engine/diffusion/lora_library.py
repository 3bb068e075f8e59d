"""The LoRAs of requests: reads each file once, keeps it within a bound, and puts a picture's set on the loaded model."""

from __future__ import annotations

import logging
import stat
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from engine.contract import EngineError, LoraRequest, UnknownLora, UnknownModel
from engine.diffusion import svdquant
from engine.diffusion.errors import first_line, is_out_of_memory
from engine.diffusion.lora_hooks import ActiveHooks, Gains, Hooks, hooks_of
from engine.diffusion.lora_targets import Targets, targets_of
from engine.diffusion.loras import Adapter, read
from engine.families.family import Family
from engine.families.registry import specs
from engine.lora_catalogue import unknown_lora
from engine.spec import LoraSpec

BYTES = 2**30
"""Capacity in bytes of the LoRAs that were read: some five of the largest usual ones."""

SET_BYTES = 2**29
"""Capacity in bytes of the sets that were prepared; their tensors are on the device. The latest set always stays."""

MAX_FILE = 4 * 2**30
"""Largest file in bytes; the largest LoRAs of today have 2 GB."""

_DIGEST_CHARS = 12
"""As many as A1111 writes."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class LoraSet:
    """The LoRAs of a picture with their weights, prepared for a loaded model.

    Attributes:
        hooks: What they change, by layer; empty for no LoRAs.
        text: What of them changes the text encoders, for the key of cached prompts; empty: nothing.
        digests: Name of each LoRA, and the first 12 hexadecimal digits of ``Adapter.tensors_digest``.
        extras: Names by content and weights, for the setup of a picture; empty for no LoRAs.
    """

    hooks: Hooks
    text: str = ""
    digests: tuple[tuple[str, str], ...] = ()
    extras: str = ""

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return sum(hook.nbytes for hook in self.hooks.values())


NO_LORAS = LoraSet({})


@dataclass(slots=True, eq=False)
class _Read:
    """A LoRA's file as it was when it was read."""

    stamp: tuple[int, int]
    adapter: Adapter
    gains: Gains = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Model:
    """What belongs to one loaded model: layers, hooks, and LoRAs under the names of its layers."""

    targets: Targets
    active: ActiveHooks
    read: OrderedDict[str, _Read] = field(default_factory=OrderedDict)
    sets: OrderedDict[str, LoraSet] = field(default_factory=OrderedDict)


class LoraLibrary:
    """Prepares and activates sets of LoRAs. Used by the thread that draws alone.

    Attributes:
        files_read: Number of files that were read; the others were cached.
    """

    def __init__(self, loras: Sequence[LoraSpec] = (), most: int = BYTES, most_sets: int = SET_BYTES) -> None:
        """Args:
        loras: The LoRAs that requests may name.
        most: Capacity in bytes for files; the least recently used one is evicted first.
        most_sets: Capacity in bytes for prepared sets.
        """
        self._specs = {lora.info.name: lora for lora in loras}
        self._most = most
        self._most_sets = most_sets
        self._models: WeakKeyDictionary[Family[Any], _Model] = WeakKeyDictionary()
        self.files_read = 0

    def prepare(self, family: Family[Any], wanted: Sequence[LoraRequest]) -> LoraSet:
        """Return the set of a picture's LoRAs for a loaded model.

        Args:
            family: The model.
            wanted: As ``engine.diffusion.request_state.lora_set`` returns them.

        Raises:
            UnknownLora: One is unknown, gone, damaged, or does not fit the model; one sentence.
            OutOfMemory: They do not fit the memory.
        """
        if not wanted:
            return NO_LORAS
        model = self._model(family)
        found = [(one, self._read(model, family, one.name)) for one in wanted]
        key = " ".join(f"{each.adapter.digest} {one.weight!r}" for one, each in found)
        if key in model.sets:
            model.sets.move_to_end(key)
            return model.sets[key]
        try:
            hooks = hooks_of(
                [(each.adapter, each.gains, one.weight) for one, each in found], model.targets, family.device
            )
        except UnknownModel as e:
            raise UnknownLora(f"{' and '.join(one.name for one in wanted)}: {e}.") from e
        text = [f"{each.adapter.digest} {one.weight!r}" for one, each in found if each.adapter.changes_text]
        digests = tuple((one.name, each.adapter.tensors_digest[:_DIGEST_CHARS]) for one, each in found)
        model.sets[key] = made = LoraSet(hooks, " ".join(text), digests, f"loras {key}")
        while len(model.sets) > 1 and sum(each.nbytes for each in model.sets.values()) > self._most_sets:
            model.sets.popitem(last=False)
        return made

    @contextmanager
    def active(self, family: Family[Any], chosen: LoraSet) -> Iterator[None]:
        """Draw with a set inside of the context; without LoRAs for ``NO_LORAS``."""
        if family not in self._models and not chosen.hooks:
            yield
            return
        # The model may have been loaded again since the set was prepared.
        with self._model(family).active.running(chosen.hooks):
            yield

    def clear(self) -> None:
        """Forget what was read and prepared, since the device's memory is freed."""
        for model in self._models.values():
            model.active.activate({})
        self._models.clear()

    def _model(self, family: Family[Any]) -> _Model:
        if family not in self._models:
            parts = family.lora_parts
            if not parts:
                raise UnknownLora(f"{family.spec.title} takes no LoRAs; leave them out, or take another model.")
            if any(map(svdquant.is_loaded_in, parts.values())):
                raise UnknownLora("LoRAs can't be added to a model in SVDQuant; leave them out, or take another model.")
            targets = targets_of(parts, type(family), family.lora_converter)
            self._models[family] = _Model(targets, ActiveHooks(targets))
        return self._models[family]

    def _read(self, model: _Model, family: Family[Any], name: str) -> _Read:
        spec = self._specs.get(name)
        if spec is None:
            raise unknown_lora(name, list(self._specs))
        own = spec.info.family
        if own and own != family.spec.name:
            title = specs()[own].title if own in specs() else own
            others = ", ".join(n for n, s in self._specs.items() if s.info.family == family.spec.name)
            instead = f"; those for {family.spec.title} are {others}" if others else ""
            raise UnknownLora(f"The LoRA {name} is made for {title}, and this model is {family.spec.title}{instead}.")
        path = Path(spec.path)
        try:
            status = path.stat()
        except OSError as e:
            raise UnknownLora(f"The file of the LoRA {name} is not there any more ({e.strerror or e}).") from e
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would block the thread that draws
            raise UnknownLora(f"The file of the LoRA {name} is no regular file any more.")
        stamp = (status.st_mtime_ns, status.st_size)
        kept = model.read.get(name)
        if kept is not None and kept.stamp == stamp:
            model.read.move_to_end(name)
            return kept
        if status.st_size > MAX_FILE:
            raise UnknownLora(f"The file of the LoRA {name} has {status.st_size:,} bytes, more than a LoRA has.")
        model.read.pop(name, None)
        adapter = self._adapter(name, path, model.targets)
        model.read[name] = made = _Read(stamp, adapter)
        while len(model.read) > 1 and sum(each.adapter.nbytes for each in model.read.values()) > self._most:
            model.read.popitem(last=False)
        return made

    def _adapter(self, name: str, path: Path, targets: Targets) -> Adapter:
        self.files_read += 1
        try:
            return read(path, targets)
        except UnknownModel as e:
            raise UnknownLora(f"The LoRA {name} can't be used with this model: {e}.") from e
        except EngineError:
            raise
        except Exception as e:
            if is_out_of_memory(e):
                raise
            log.warning("The LoRA %s can't be read: %r", path, e)
            raise UnknownLora(f"The file of the LoRA {name} can't be read ({first_line(e).rstrip('.')}).") from e
