"""What a model takes from a hub: a whole pipeline, a pipeline's configs below a single file, files of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.hub import cache
from engine.hub.names import is_repo, split_file
from engine.hub.selection import UNUSED, WHOLE, Selection
from engine.spec import ModelSpec

DENOISERS = frozenset({"transformer", "unet"})
"""What a transformer that comes alone takes the place of; diffusers calls it by either name."""

CONFIGS = Selection(weights=False)
WITHOUT_DENOISER = Selection(without=DENOISERS | UNUSED)


@dataclass(frozen=True, slots=True)
class Need:
    """One thing on a hub.

    Attributes:
        source: ``owner/name``, or ``owner/name/path/file``.
        selection: How much of a pipeline; says nothing of a file.
        own: Whether it is the model's own, and not the base that others may stand on too.
    """

    source: str
    selection: Selection = WHOLE
    own: bool = True

    @property
    def repo(self) -> str:
        """The repository that it is in."""
        named = split_file(self.source)
        return named[0] if named else self.source


def needs(spec: ModelSpec) -> tuple[Need, ...]:
    """Return what a model takes from a hub, largest first as a rule; nothing for one whose files are all its operator's."""
    found = []
    folder = spec.folder
    if is_repo(folder) and not Path(folder).is_dir():
        selection = CONFIGS if spec.single_file else WITHOUT_DENOISER if spec.transformer else WHOLE
        found.append(Need(folder, selection, own=not spec.base))
    files = (spec.single_file, spec.transformer, *(lora.source for lora in spec.loras))
    return (*found, *(Need(file) for file in files if not Path(file).is_absolute() and split_file(file)))


def ready(spec: ModelSpec, models_dir: str) -> bool:
    """Return whether everything that a model takes from a hub is here; asks the disk alone."""
    return all(cache.present(need.source, models_dir, need.selection) is not None for need in needs(spec))


def held(spec: ModelSpec, models_dir: str) -> int:
    """Return the bytes of this disk that the repositories of a model take; a base counts wherever it is used."""
    return sum(cache.held(repo, models_dir) for repo in dict.fromkeys(need.repo for need in needs(spec)))
