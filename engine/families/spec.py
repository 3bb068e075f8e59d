"""What the engine knows of a model family before torch is imported: the fields of a family's ``spec.py``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from engine.contract import Profile
from engine.samplers import Sampler
from engine.spec import ModelSpec

DENOISERS = frozenset({"transformer", "unet"})
"""Names that diffusers gives to the part of a pipeline that takes the denoising steps."""

TEXT_ENCODER = "text_encoder"
"""What the names of a pipeline's text encoders begin with: ``text_encoder``, ``text_encoder_2``, ..."""

_COARSE_SIDE = 512
"""Native side in pixels from which presets use ``FamilySpec.trained_multiple``."""

_RATIOS: Mapping[str, tuple[int, int]] = {
    "square": (1, 1),
    "portrait": (3, 4),
    "landscape": (4, 3),
    "tall": (9, 16),
    "wide": (16, 9),
}

_REFERENCE_WORK = 6_154_908_736 * 1024**2 * 8
"""Parameters x pixels x steps of Z-Image-Turbo's default picture, which costs 1."""


@dataclass(frozen=True, slots=True)
class Part:
    """One component of a pipeline and the classes that it may have.

    A model's ``model_index.json`` names a class for each part, and the libraries would load any class of theirs.

    Attributes:
        library: ``diffusers`` or ``transformers``.
        classes: Names of the classes that are accepted.
        weights: Whether the part has tensors; tokenizers and schedulers have none.
    """

    library: str
    classes: frozenset[str]
    weights: bool = True


@dataclass(frozen=True, slots=True)
class WeightKeys:
    """How the weights of a family are recognised by the names of their tensors.

    Families of one architecture have the same ``pattern`` and differ in the width of the prompt's embeddings.

    Attributes:
        pattern: Found in at least one key of a denoiser, single file or LoRA of this architecture.
        layers: Regular expression for the beginning of a denoiser's keys.
        parameters: Matches the last component of a tensor's name, beside ``weight`` and ``bias``.
        width_pattern: Keys of the layers whose number of input channels differs between models of the architecture.
        width_key: The same number in the denoiser's ``config.json``.
        width: That number in the published model; 0 where no other family shares the architecture.
        architecture: Name for a model of the architecture whose width is not known.
        unused: Matches the keys of weights that no model of the architecture computes with.
        unsupported: Titles of models of the architecture that Easel has no family for, by width.
    """

    pattern: re.Pattern[str]
    layers: str
    width_pattern: re.Pattern[str]
    width_key: str
    architecture: str
    width: int = 0
    parameters: re.Pattern[str] = re.compile(r"(?!)")  # immutable
    unused: re.Pattern[str] = re.compile(r"(?!)")
    unsupported: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory figures of a family's published architecture, counted on PyTorch's meta device.

    ``tests/unit/engine/diffusion/memory/test_estimate.py`` counts them again. "Numbers" are elements of tensors: two
    bytes each in bf16.

    Attributes:
        parameters: Number of parameters of each part that has weights.
        token_side: Side in pixels of one position of the denoiser's finest feature map.
        prompt_tokens: Positions that a prompt adds to those of the picture.
        activations: Numbers alive for each position during one forward pass of the denoiser.
        attention_heads: Attention heads at the finest feature map that has attention.
        attention_side: Side in pixels of one position of that map.
        linear_share: For each part, the share of its parameters in linear layers, which int8 and nf4 quantise.
        largest_layer: Parameters of the denoiser's largest layer.
        block_pair: Parameters of the two consecutive blocks of the denoiser that are largest together; two are on the
            device while weights are streamed (``engine.diffusion.memory.stream``).
        text_pair: The same of the text encoders.
        text_activations: Numbers alive while one prompt is encoded.
        fp16: Whether the denoiser and the text encoders can compute in fp16 without overflow.
        vae_fp16: Whether the VAE can.
        clamped_fp16: Whether the denoiser can with clamped sums, which its family sees to. Its text encoders can't.
        casts: Whether weights may be stored in another format than the one that is computed in.
    """

    parameters: Mapping[str, int]
    token_side: int
    prompt_tokens: int
    activations: int
    attention_heads: int
    attention_side: int
    linear_share: Mapping[str, float]
    largest_layer: int
    block_pair: int
    text_pair: int
    text_activations: int
    fp16: bool
    vae_fp16: bool
    casts: bool = True
    clamped_fp16: bool = False


@dataclass(frozen=True, slots=True)
class FamilySpec:
    """A family of models: one architecture that Easel can draw with.

    ``engine/families/<name>/spec.py`` holds it as ``SPEC``; ``model.py`` next to it holds the class that draws.

    Attributes:
        name: Name of the folder, and ``Profile.family`` of its models.
        title: Name for people.
        released: When the first model of the family was published; families are listed newest first.
        model_class: Name of the ``Family`` subclass in ``model.py``.
        pipelines: Pipeline classes that ``model_index.json`` may name. All are loaded as the first one, which takes
            a prompt alone; image-to-image and inpainting pipelines have the same parts.
        parts: The components that it draws with, by name, in the order in which they are checked.
        omitted: Arguments that keep ``from_pretrained`` from loading components that are not used.
        denoiser: Name of the part that takes the denoising steps, one of ``DENOISERS``.
        native_side: Side in pixels of the native square where the configs state none.
        native_side_key: Part and key of the config that states it.
        native_side_in_latents: Whether that config counts in latents rather than in pixels.
        input_channels: Channels that the denoiser must take; others expect a mask or an image. 0: not checked.
        multiple: Both sides of a picture must be multiples of this, in pixels.
        trained_multiple: Multiple that the training set used; presets keep to it for native sides of 512 and more.
            0: the same as ``multiple``.
        unguided_below: Guidance scale up to which no second prediction is made.
        schedulers: Schedulers that a profile may choose; empty: each model keeps the scheduler in its folder.
        samplers: The samplers that a request may name; empty: each model has its own scheduler alone.
        single_file: For each part of a single-file checkpoint, its title and the beginnings of its keys; empty: the
            family has no single-file checkpoints.
        keys: How weights are recognised.
        lora_parts: Parts that a LoRA may change, the denoiser first; empty: the family takes no LoRAs.
        controlnet: Class of its ControlNets in diffusers; empty: it draws with none.
        controlnet_config: What the config of a ControlNet must hold to be of this family and not of another one with
            the same class; None stands for an absent value too.
        control_marker: A tensor of a ControlNet's single file by which it is recognised; its first side is the width.
        footprint: Memory figures.
        models: The models that Easel knows by name. The first gives the defaults of an unknown folder of this family.
        describe: For the family that draws with pipelines of any class: returns the spec of the pipeline in a folder,
            whose first model has the folder's defaults. None: the family is one architecture.
    """

    name: str
    title: str
    released: date
    model_class: str
    pipelines: tuple[str, ...]
    parts: Mapping[str, Part]
    denoiser: str
    native_side: int
    native_side_key: tuple[str, str]
    multiple: int
    keys: WeightKeys
    footprint: Footprint
    models: tuple[ModelSpec, ...]
    omitted: Mapping[str, object] = field(default_factory=dict)
    native_side_in_latents: bool = False
    input_channels: int = 0
    trained_multiple: int = 0
    unguided_below: float = 1.0
    schedulers: tuple[str, ...] = ()
    samplers: Mapping[str, Sampler] = field(default_factory=dict)
    single_file: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lora_parts: tuple[str, ...] = ()
    describe: Describe | None = None
    controlnet: str = ""
    controlnet_config: Mapping[str, object] = field(default_factory=dict)
    control_marker: str = ""

    def preset_multiple(self, side: int) -> int:
        """Return the multiple, in pixels, that presets around a native square of ``side`` pixels keep to."""
        return self.trained_multiple if self.trained_multiple and side >= _COARSE_SIDE else self.multiple


Read = Callable[[Path], Mapping[str, object]]
"""Reads a JSON object from a file of a model; raises UnknownModel with the reason."""

Describe = Callable[[FamilySpec, Path, Mapping[str, object], Read], FamilySpec]
"""Takes the family's own spec, a folder, its ``model_index.json`` and a reader of its other files. Raises UnknownModel."""


def presets(side: int, multiple: int) -> Mapping[str, tuple[int, int]]:
    """Return (width, height) in pixels of the five ratios, with an area near ``side * side``.

    Args:
        side: Side of the native square in pixels.
        multiple: Both sides are multiples of this.
    """

    def near(length: float) -> int:
        return max(multiple, round(length / multiple) * multiple)

    return {name: (near(side * math.sqrt(w / h)), near(side * math.sqrt(h / w))) for name, (w, h) in _RATIOS.items()}


def priced(profile: Profile) -> Profile:
    """Return the profile with the cost of its default picture, where Z-Image-Turbo's is 1.

    The cost is the denoiser's parameters x pixels x steps, doubled where the default guidance needs a second pass. A
    profile that states no parameters keeps its cost.
    """
    parameters = sum(count for part, count in profile.parameters.items() if part in DENOISERS)
    if not parameters:
        return profile
    passes = 2 if profile.guidance.default > 1 else 1
    work = parameters * profile.side.default**2 * profile.steps.default * passes
    return replace(profile, cost=work / _REFERENCE_WORK)
