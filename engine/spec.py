"""A model as the engine process receives it: its profile and the files that it is assembled from."""

from __future__ import annotations

from dataclasses import dataclass

from engine.contract import LoraInfo, Profile


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA that belongs to a model, and its weight.

    Attributes:
        source: Path of a ``.safetensors`` file, or a file on the hub (``owner/repository/path.safetensors``).
        weight: Factor for its weights; 1 is full strength.
    """

    source: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class LoraSpec:
    """A LoRA that requests may name: what people see of it, and its file.

    Attributes:
        info: Its name, title, family and so on.
        path: Absolute path of its ``.safetensors`` file.
        clip_skip: Clip skip of its training, as its file states it; 0 if it does not. It is shown and changes no picture.
    """

    info: LoraInfo
    path: str
    clip_skip: int = 0


@dataclass(frozen=True, slots=True)
class ControlSpec:
    """A ControlNet and its files.

    Attributes:
        name: Name of its table in ``models.toml``.
        title: Its full name.
        kinds: Kinds of control pictures that it was trained with, such as ``canny``.
        family: Name of its family, as ``Profile.family``.
        source: Absolute path of a folder or of a ``.safetensors`` file, or a hub id, or a file on the hub.
        width: The number by which its family's models differ (``WeightKeys.width_key``); 0 where it is not known.
    """

    name: str
    title: str
    kinds: tuple[str, ...]
    family: str
    source: str
    width: int = 0


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model and its files.

    Every file may be on the hub; its name is then ``owner/repository/path``, which ``is_hub_file`` distinguishes from a
    local path.

    Attributes:
        profile: What people can ask of the model. ``profile.source`` is a hub id, a folder with a diffusers pipeline,
            or a single ``.safetensors`` file. Where there is a ``transformer``, the source is only a name, and
            everything else comes from ``base``.
        base: Hub id or folder of the rest: the configs of a single file, or all parts but the transformer. Empty where
            ``profile.source`` is a complete pipeline.
        transformer: A transformer or UNet alone, ``.safetensors`` or ``.gguf``, that replaces the base's.
        loras: The LoRAs, in the order in which they are added.
        revision: Pinned commit on the hub; empty for local files.
        controls: The ControlNets for it; each kind of ``profile.controls`` is served by one of them.
    """

    profile: Profile
    base: str = ""
    transformer: str = ""
    loras: tuple[Lora, ...] = ()
    revision: str = ""
    controls: tuple[ControlSpec, ...] = ()

    @property
    def folder(self) -> str:
        """Hub id or folder of the pipeline that the configs and all other parts come from."""
        return self.base or self.profile.source

    @property
    def single_file(self) -> str:
        """The single file with all weights; empty where the model is a folder."""
        return self.profile.source if is_file(self.profile.source) and not self.transformer else ""


def is_file(source: str) -> bool:
    """Whether a source names a file of weights, local or on the hub, and not a folder."""
    return source.lower().endswith((".safetensors", ".gguf"))


def is_hub_file(source: str) -> bool:
    """Whether a source is a file on the hub, ``owner/repository/path``.

    Local paths are absolute in a spec, so that the two can't be confused.
    """
    parts = source.split("/")
    return is_file(source) and len(parts) > 2 and all(parts) and ":" not in source and not source.startswith((".", "~"))
