"""What a model needs from a hub: a whole pipeline, the configs for a single file, or separate files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.families.spec import DENOISERS
from engine.hub import cache
from engine.hub.names import is_repo, split_file
from engine.hub.selection import UNUSED, WHOLE, Selection
from engine.spec import ModelSpec

CONFIGS = Selection(weights=False)
WITHOUT_DENOISER = Selection(without=DENOISERS | UNUSED)


@dataclass(frozen=True, slots=True)
class Need:
    """A pipeline or a file on a hub.

    Attributes:
        source: ``owner/name``, or ``owner/name/path/file``.
        selection: Which files of a pipeline; unused for a file.
        own: Whether it belongs to this model, and is not a base that other models may share.
        known: Whether something else than its own files says what it is: Easel's tables, or ``models.toml``.
    """

    source: str
    selection: Selection = WHOLE
    own: bool = True
    known: bool = True

    @property
    def repo(self) -> str:
        """The repository that holds it."""
        named = split_file(self.source)
        return named[0] if named else self.source


def needs(spec: ModelSpec) -> tuple[Need, ...]:
    """Return what a model needs from a hub, usually the largest first; empty if all of its files are local."""
    found = []
    folder = spec.folder
    if is_repo(folder) and not Path(folder).is_dir():
        selection = CONFIGS if spec.single_file else WITHOUT_DENOISER if spec.transformer else WHOLE
        found.append(Need(folder, selection, own=not spec.base))
    files = (spec.single_file, spec.transformer, *(lora.source for lora in spec.loras))
    return (*found, *(Need(file) for file in files if not Path(file).is_absolute() and split_file(file)))


def needs_hub(spec: ModelSpec) -> bool:
    """Return whether a model, or a ControlNet for it, needs anything from a hub."""
    return bool(needs(spec)) or not all(Path(control.source).is_absolute() for control in spec.controls)


def ready(spec: ModelSpec, models_dir: str) -> bool:
    """Return whether everything that a model needs from a hub is on this disk."""
    return all(cache.present(need.source, models_dir, need.selection) is not None for need in needs(spec))


def disk_usage(spec: ModelSpec, models_dir: str) -> int:
    """Return the bytes on disk of a model's repositories; a shared base counts for each model."""
    return sum(cache.disk_usage(repo, models_dir) for repo in dict.fromkeys(need.repo for need in needs(spec)))
