"""The generic family: any diffusers pipeline that can be paused between two steps, and what is known of some of them.

A folder's small files and the source of the installed diffusers say what a pipeline is: its parts are those of
``model_index.json``, its arguments are those of ``__call__``. ``PIPELINES`` holds what neither says, by class; a class that
is not in it is drawn with the defaults of ``arguments.unknown``. ``MODELS`` are the models that people can name. Classes of
other families never come here: the registry asks those first.

Memory is planned with the parameters of a model's files; the activations are those of a transformer of that size, half
as many again, for the picture and all references together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from functools import partial

from engine.contract import Capability, NegativePromptSupport, Profile, Range
from engine.families.generic.arguments import KnownPipeline
from engine.families.generic.describe import describe
from engine.families.spec import FamilySpec, Footprint, WeightKeys, presets, priced
from engine.spec import ModelSpec

NAME = "generic"
_NEVER = re.compile(r"(?!)")
_NO_GUIDANCE = Range(0.0, 0.0, 0.0)

PIPELINES: Mapping[str, KnownPipeline] = {
    pipeline.name: pipeline
    for pipeline in (
        KnownPipeline("Flux2KleinPipeline", references=4),
        KnownPipeline("QwenImagePipeline", side=1328, languages=("en", "zh")),
        KnownPipeline("StableDiffusion3Pipeline"),
        # diffusers 0.42.1: its inpainting asks the transformer for a setting that it does not have.
        KnownPipeline("ChromaPipeline", without=frozenset({Capability.MASK})),
        # It draws in a size of its own choice.
        KnownPipeline("FluxKontextPipeline", references=1, without=frozenset({Capability.MASK})),
        # It encodes references in bf16, whatever its VAE is in.
        KnownPipeline("ZImageOmniPipeline", references=4, vae_dtype="bfloat16"),
    )
}
"""What is known of pipelines, by class."""


def _model(
    pipeline: str,
    *,
    name: str,
    title: str,
    source: str,
    steps: Range[int],
    guidance: Range[float] = _NO_GUIDANCE,
    licence: str,
    prompt_tokens: int,
    can: frozenset[Capability] = frozenset(),
    parameters: Mapping[str, int] | None = None,
) -> ModelSpec:
    """Return a known model. ``guidance`` of a single value: it was distilled, and ignores negative prompts."""
    known = PIPELINES[pipeline]
    return ModelSpec(
        priced(
            Profile(
                name=name,
                title=title,
                source=source,
                family=NAME,
                multiple=known.multiple,
                side=Range(known.side, known.side // 2 // known.multiple * known.multiple, known.side * 2),
                presets=presets(known.side, known.multiple),
                steps=steps,
                guidance=guidance,
                negative=(
                    NegativePromptSupport.NEVER
                    if guidance.low == guidance.high
                    else NegativePromptSupport.WITH_GUIDANCE
                ),
                languages=known.languages,
                licence=licence,
                pipeline=pipeline,
                prompt_tokens=prompt_tokens,
                parameters=parameters or {},
                can=can | ({Capability.EDIT} if known.references else frozenset()),
                references=known.references,
                needs_reference=known.needs_reference,
            )
        )
    )


# Counted from the published files' headers and configs.
_KLEIN_4B: Mapping[str, int] = {"transformer": 3_875_544_576, "text_encoder": 4_022_468_096, "vae": 84_046_115}

_FROM_PICTURES = frozenset({Capability.IMAGE, Capability.MASK})

MODELS: tuple[ModelSpec, ...] = (
    _model(
        "Flux2KleinPipeline",
        name="flux2-klein",
        title="FLUX.2 klein 4B",
        source="black-forest-labs/FLUX.2-klein-4B",
        steps=Range(4, 1, 50),
        licence="Apache-2.0",
        prompt_tokens=512,
        can=frozenset({Capability.MASK}),
        parameters=_KLEIN_4B,
    ),
    _model(
        "QwenImagePipeline",
        name="qwen-image",
        title="Qwen-Image",
        source="Qwen/Qwen-Image",
        steps=Range(50, 1, 100),
        guidance=Range(4.0, 1.0, 10.0),
        licence="Apache-2.0",
        prompt_tokens=512,
        can=_FROM_PICTURES,
    ),
    _model(
        "StableDiffusion3Pipeline",
        name="sd3.5-medium",
        title="Stable Diffusion 3.5 Medium",
        source="stabilityai/stable-diffusion-3.5-medium",
        steps=Range(40, 1, 100),
        guidance=Range(4.5, 1.0, 20.0),
        licence="Stability AI Community",
        prompt_tokens=256,
        can=_FROM_PICTURES,
    ),
)
"""The models that people can name."""

SPEC = FamilySpec(
    name=NAME,
    title="another diffusers pipeline",
    released=date.min,  # listed behind all others
    model_class="Generic",
    pipelines=(),
    parts={},
    denoiser="transformer",
    native_side=1024,
    native_side_key=("vae", "sample_size"),
    multiple=16,
    # Nothing is recognised by the names of its tensors.
    keys=WeightKeys(
        pattern=_NEVER, layers="(?!)", width_pattern=_NEVER, width_key="", architecture="another diffusers pipeline"
    ),
    footprint=Footprint(
        parameters={"transformer": 6_154_908_736, "text_encoder": 4_022_468_096, "vae": 83_819_683},
        token_side=16,
        prompt_tokens=512,
        activations=91_200,
        attention_heads=30,
        attention_side=16,
        linear_share={"transformer": 0.99, "unet": 0.85, "text_encoder": 0.9},
        largest_layer=60_000_000,
        largest_text_layer=800_000_000,
        text_activations=200_000_000,
        fp16=False,
        vae_fp16=False,
        casts=False,
    ),
    models=MODELS,
    describe=partial(describe, PIPELINES),
)
