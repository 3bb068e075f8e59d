"""A model as the device's process is told of it: its profile, and the files that it is put together from."""

from __future__ import annotations

from dataclasses import dataclass

from engine.contract import Profile


@dataclass(frozen=True, slots=True)
class Lora:
    """Weights that are added to a model's own.

    Attributes:
        source: Path of a ``.safetensors`` file, or a file on the hub (``owner/repository/path.safetensors``).
        weight: How much of them is added; 1 is all.
    """

    source: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model and where its files are.

    Every file may lie on the hub: its name is then ``owner/repository/path``, which ``is_hub_file`` tells from a path.

    Attributes:
        profile: What people can ask of it. ``profile.source`` is a hub id, a folder with a diffusers pipeline, or a
            single ``.safetensors`` file; where there is a ``transformer``, it is only a name, and everything else
            comes from ``base``.
        base: Hub id or folder that the rest comes from: the configs of a single file, or everything but the
            transformer. Empty where ``profile.source`` is whole.
        transformer: A transformer (or UNet) alone, ``.safetensors`` or ``.gguf``, that takes the base's place.
        loras: What is added, in order.
        revision: Commit on the hub that is pinned; empty for what is no hub's.
    """

    profile: Profile
    base: str = ""
    transformer: str = ""
    loras: tuple[Lora, ...] = ()
    revision: str = ""

    @property
    def folder(self) -> str:
        """Hub id or folder with the pipeline that configs and all other parts come from."""
        return self.base or self.profile.source

    @property
    def single_file(self) -> str:
        """The single file that holds the whole model; empty where it is a folder."""
        return self.profile.source if is_file(self.profile.source) and not self.transformer else ""


def is_file(source: str) -> bool:
    """Whether a source names a file of weights, here or on the hub, and no folder."""
    return source.lower().endswith((".safetensors", ".gguf"))


def is_hub_file(source: str) -> bool:
    """Whether a source is a file on the hub: ``owner/repository/path``, and no path of this machine.

    Paths of this machine are absolute in a spec, so that the two can't be mistaken for each other.
    """
    parts = source.split("/")
    return is_file(source) and len(parts) > 2 and all(parts) and ":" not in source and not source.startswith((".", "~"))
