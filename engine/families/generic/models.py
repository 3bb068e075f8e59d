"""What is known of diffusers' pipelines by class, and the models of these classes that people can name."""

from __future__ import annotations

from collections.abc import Mapping

from engine.contract import Capability, LicenceTerm, NegativePromptSupport, Profile, Range
from engine.families.generic.arguments import KnownPipeline
from engine.families.spec import presets, priced
from engine.spec import ModelSpec

NAME = "generic"
"""Name of the family."""

_BOTH = ("en", "zh")
_NO_GUIDANCE = Range(0.0, 0.0, 0.0)
_IMAGE, _MASK = Capability.IMAGE, Capability.MASK

PIPELINES: Mapping[str, KnownPipeline] = {
    pipeline.name: pipeline
    for pipeline in (
        KnownPipeline("Flux2KleinPipeline", references=4),
        KnownPipeline("LongCatImagePipeline", prompt_tokens=512, languages=_BOTH),
        # Its pictures have a million pixels in the ratio of the reference.
        KnownPipeline(
            "LongCatImageEditPipeline", references=1, needs_reference=True, prompt_tokens=512, languages=_BOTH
        ),
        KnownPipeline("QwenImagePipeline", side=1328, languages=_BOTH),
        KnownPipeline("QwenImageEditPlusPipeline", references=3, needs_reference=True, languages=_BOTH),
        # Its language model would rewrite the prompt, with random words that the seed does not decide.
        KnownPipeline(
            "ErnieImagePipeline",
            prompt_tokens=1024,
            languages=_BOTH,
            arguments={"use_pe": False},
            unused=("pe", "pe_tokenizer"),
        ),
        # diffusers 0.42.1: its inpainting asks the transformer for a setting that it does not have.
        KnownPipeline("ChromaPipeline", without=frozenset({_MASK})),
        KnownPipeline("StableDiffusion3Pipeline"),
        KnownPipeline("Lumina2Pipeline"),
        # Its pictures have a million pixels in the ratio that is asked for.
        KnownPipeline("HiDreamImagePipeline"),
        KnownPipeline("KolorsPipeline", multiple=8, languages=_BOTH),
        KnownPipeline("SanaPipeline", multiple=32),
        KnownPipeline("FluxKontextPipeline", references=1, without=frozenset({_MASK})),
        # It encodes references in bf16, whatever its VAE is in.
        KnownPipeline("ZImageOmniPipeline", references=4, languages=_BOTH, vae_dtype="bfloat16"),
    )
}
"""What is known of pipelines, by class."""

# Parameters were counted on the published configurations.
_FLUX_VAE, _FLUX2_VAE, _QWEN_VAE = 83_819_683, 84_046_115, 126_892_531
_QWEN3_4B, _QWEN3_8B, _QWEN_VL, _T5 = 4_022_468_096, 8_190_735_360, 8_292_166_656, 4_762_310_656
_CLIP = {"text_encoder": 123_650_304, "text_encoder_2": 694_659_840, "text_encoder_3": _T5}


def _model(
    pipeline: str,
    *,
    name: str,
    title: str,
    source: str,
    steps: int,
    guidance: Range[float] = _NO_GUIDANCE,
    licence: str,
    terms: tuple[LicenceTerm, ...] = (),
    can: frozenset[Capability] = frozenset(),
    prompt_tokens: int = 512,
    parameters: Mapping[str, int],
) -> ModelSpec:
    """Return a known model. ``guidance`` of a single value: it was distilled, and ignores negative prompts."""
    known = PIPELINES[pipeline]
    guided = guidance.low != guidance.high
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
                steps=Range(steps, 1, 100),
                guidance=guidance,
                negative=NegativePromptSupport.WITH_GUIDANCE if guided else NegativePromptSupport.NEVER,
                languages=known.languages,
                licence=licence,
                licence_terms=terms,
                pipeline=pipeline,
                prompt_tokens=known.prompt_tokens or prompt_tokens,
                parameters=parameters,
                can=can | ({Capability.EDIT} if known.references else frozenset()),
                references=known.references,
                needs_reference=known.needs_reference,
            )
        )
    )


_LONGCAT = {"transformer": 6_270_668_864, "text_encoder": _QWEN_VL, "vae": _FLUX_VAE}
_QWEN = {"transformer": 20_430_401_088, "text_encoder": _QWEN_VL, "vae": _QWEN_VAE}
_STABILITY = (LicenceTerm.REVENUE_LIMIT, LicenceTerm.ACCEPTANCE)

MODELS: tuple[ModelSpec, ...] = (
    _model(
        "Flux2KleinPipeline",
        name="flux2-klein",
        title="FLUX.2 klein 4B",
        source="black-forest-labs/FLUX.2-klein-4B",
        steps=4,
        licence="Apache-2.0",
        can=frozenset({_MASK}),
        parameters={"transformer": 3_875_544_576, "text_encoder": _QWEN3_4B, "vae": _FLUX2_VAE},
    ),
    _model(
        "Flux2KleinPipeline",
        name="flux2-klein-9b",
        title="FLUX.2 klein 9B",
        source="black-forest-labs/FLUX.2-klein-9B",
        steps=4,
        licence="FLUX Non-Commercial",
        terms=(LicenceTerm.NON_COMMERCIAL, LicenceTerm.FILTER, LicenceTerm.ACCEPTANCE),
        can=frozenset({_MASK}),
        parameters={"transformer": 9_078_581_248, "text_encoder": _QWEN3_8B, "vae": _FLUX2_VAE},
    ),
    _model(
        "LongCatImageEditPipeline",
        name="longcat-image-edit-turbo",
        title="LongCat-Image-Edit-Turbo",
        source="meituan-longcat/LongCat-Image-Edit-Turbo",
        steps=8,
        licence="Apache-2.0",
        parameters=_LONGCAT,
    ),
    _model(
        "LongCatImagePipeline",
        name="longcat-image",
        title="LongCat-Image",
        source="meituan-longcat/LongCat-Image",
        steps=50,
        guidance=Range(4.5, 1.0, 10.0),
        licence="Apache-2.0",
        parameters=_LONGCAT,
    ),
    _model(
        "QwenImagePipeline",
        name="qwen-image",
        title="Qwen-Image",
        source="Qwen/Qwen-Image",
        steps=50,
        guidance=Range(4.0, 1.0, 10.0),
        licence="Apache-2.0",
        can=frozenset({_IMAGE, _MASK}),
        parameters=_QWEN,
    ),
    _model(
        "QwenImageEditPlusPipeline",
        name="qwen-image-edit",
        title="Qwen-Image-Edit-2511",
        source="Qwen/Qwen-Image-Edit-2511",
        steps=40,
        guidance=Range(4.0, 1.0, 10.0),
        licence="Apache-2.0",
        parameters=_QWEN,
    ),
    _model(
        "ErnieImagePipeline",
        name="ernie-image-turbo",
        title="ERNIE-Image-Turbo",
        source="baidu/ERNIE-Image-Turbo",
        steps=8,
        licence="Apache-2.0",
        parameters={"transformer": 8_033_490_048, "text_encoder": 3_849_090_048, "vae": _FLUX2_VAE},
    ),
    _model(
        "ChromaPipeline",
        name="chroma1-hd",
        title="Chroma1-HD",
        source="lodestones/Chroma1-HD",
        steps=40,
        guidance=Range(3.0, 1.0, 10.0),
        licence="Apache-2.0",
        can=frozenset({_IMAGE}),
        parameters={"transformer": 8_899_983_424, "text_encoder": _T5, "vae": _FLUX_VAE},
    ),
    _model(
        "StableDiffusion3Pipeline",
        name="sd3.5-medium",
        title="Stable Diffusion 3.5 Medium",
        source="stabilityai/stable-diffusion-3.5-medium",
        steps=40,
        guidance=Range(4.5, 1.0, 10.0),
        licence="Stability AI Community",
        terms=_STABILITY,
        can=frozenset({_IMAGE, _MASK}),
        prompt_tokens=256,
        parameters={"transformer": 2_243_171_520, **_CLIP, "vae": _FLUX_VAE},
    ),
    _model(
        "StableDiffusion3Pipeline",
        name="sd3.5-large",
        title="Stable Diffusion 3.5 Large",
        source="stabilityai/stable-diffusion-3.5-large",
        steps=28,
        guidance=Range(3.5, 1.0, 10.0),
        licence="Stability AI Community",
        terms=_STABILITY,
        can=frozenset({_IMAGE, _MASK}),
        prompt_tokens=256,
        parameters={"transformer": 8_056_627_520, **_CLIP, "vae": _FLUX_VAE},
    ),
    _model(
        "StableDiffusion3Pipeline",
        name="sd3.5-large-turbo",
        title="Stable Diffusion 3.5 Large Turbo",
        source="stabilityai/stable-diffusion-3.5-large-turbo",
        steps=4,
        licence="Stability AI Community",
        terms=_STABILITY,
        can=frozenset({_IMAGE, _MASK}),
        prompt_tokens=256,
        parameters={"transformer": 8_056_627_520, **_CLIP, "vae": _FLUX_VAE},
    ),
    _model(
        "Lumina2Pipeline",
        name="lumina-image-2",
        title="Lumina-Image 2.0",
        source="Alpha-VLLM/Lumina-Image-2.0",
        steps=30,
        guidance=Range(4.0, 1.0, 10.0),
        licence="Apache-2.0",
        prompt_tokens=256,
        parameters={"transformer": 2_609_769_152, "text_encoder": 2_614_341_888, "vae": _FLUX_VAE},
    ),
    _model(
        "KolorsPipeline",
        name="kolors",
        title="Kolors",
        source="Kwai-Kolors/Kolors-diffusers",
        steps=50,
        guidance=Range(5.0, 1.0, 20.0),
        licence="Kolors",
        terms=(LicenceTerm.REGISTRATION,),
        can=frozenset({_IMAGE}),
        prompt_tokens=256,
        parameters={"unet": 2_579_458_820, "text_encoder": 6_243_584_000, "vae": 83_653_863},
    ),
)
"""The models that people can name, those that edit first."""
