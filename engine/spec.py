"""A model as the device's process is told of it: its profile, and the files that it is put together from."""

from __future__ import annotations

from dataclasses import dataclass

from engine.contract import Profile


@dataclass(frozen=True, slots=True)
class Lora:
    """Weights that are added to a model's own.

    Attributes:
        source: Path of a ``.safetensors`` file.
        weight: How much of them is added; 1 is all.
    """

    source: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model and where its files are.

    Attributes:
        profile: What people can ask of it. ``profile.source`` is a hub id, a folder with a diffusers pipeline, or a
            single ``.safetensors`` file.
        base: Hub id or folder that the rest comes from: the configs of a single file, or everything but the
            transformer. Empty where ``profile.source`` is whole.
        transformer: Path of a transformer (or UNet) alone, ``.safetensors`` or ``.gguf``, that takes the base's place.
        loras: What is added, in order.
        revision: Commit on the hub that is pinned; empty for what is no hub's.
    """

    profile: Profile
    base: str = ""
    transformer: str = ""
    loras: tuple[Lora, ...] = ()
    revision: str = ""
