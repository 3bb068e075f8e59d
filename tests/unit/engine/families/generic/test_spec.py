from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.contract import Capability, NegativePromptSupport, Range, UnknownModel
from engine.families.generic import spec as describe
from engine.families.registry import any_call, of_any_pipeline, of_pipeline
from engine.folders import index_of, profile_of
from tests.fakes import models

FLUX: Mapping[str, list[str]] = {
    "transformer": ["diffusers", "FluxTransformer2DModel"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "T5TokenizerFast"],
    "vae": ["diffusers", "AutoencoderKL"],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
}
KLEIN: Mapping[str, list[str]] = {
    "transformer": ["diffusers", "Flux2Transformer2DModel"],
    "text_encoder": ["transformers", "Qwen3ForCausalLM"],
    "tokenizer": ["transformers", "Qwen2TokenizerFast"],
    "vae": ["diffusers", "AutoencoderKLFlux2"],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
}


def folder_of(
    folder: Path,
    named: object,
    parts: Mapping[str, object] = FLUX,
    *,
    transformer: Mapping[str, object] | None = None,
    vae: Mapping[str, object] | None = None,
    **index: object,
) -> Path:
    """Write the small files of a pipeline's folder."""
    folder.mkdir()
    (folder / "model_index.json").write_text(json.dumps({"_class_name": named, **parts, **index}))
    for part in parts:
        (folder / part).mkdir()
        config = {"transformer": transformer, "vae": vae}.get(part) or {}
        (folder / part / "config.json").write_text(json.dumps(config))
    return folder


def test_a_class_of_another_family_never_comes_here(tmp_path: Path) -> None:
    assert not any_call(profile_of(models.copy(tmp_path / "z")).family)
    assert of_pipeline("FluxPipeline") is None
    assert of_any_pipeline().pipelines == ()


def test_what_the_files_of_an_unknown_model_say(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path / "My Flux", "FluxPipeline", transformer={"guidance_embeds": True}, vae={"sample_size": 512}
    )
    profile = profile_of(folder)
    assert (profile.name, profile.title, profile.pipeline) == ("my-flux", "My Flux", "FluxPipeline")
    assert (profile.side, profile.multiple) == (Range(512, 256, 1024), 16)
    assert (profile.steps.default, profile.prompt_tokens, profile.licence) == (28, 512, "")
    # Its guidance is a number that the transformer takes, without a second prediction.
    assert (profile.guidance.default, profile.negative) == (3.5, NegativePromptSupport.NEVER)
    assert profile.can == {Capability.IMAGE, Capability.MASK}
    assert profile.references == 0


def test_without_embedded_guidance_it_has_the_usual_one(tmp_path: Path) -> None:
    profile = profile_of(folder_of(tmp_path / "m", "FluxPipeline"))
    assert (profile.guidance.default, profile.negative) == (1.0, NegativePromptSupport.WITH_GUIDANCE)


def test_a_model_of_a_known_class_has_its_defaults(tmp_path: Path) -> None:
    distilled = profile_of(folder_of(tmp_path / "mine", "Flux2KleinPipeline", KLEIN, is_distilled=True))
    assert (distilled.steps.default, distilled.guidance.high, distilled.negative) == (
        4,
        0.0,
        NegativePromptSupport.NEVER,
    )
    assert distilled.references == 4
    assert distilled.can == {Capability.EDIT, Capability.MASK}
    assert distilled.licence == ""
    base = profile_of(folder_of(tmp_path / "base", "Flux2KleinPipeline", KLEIN, is_distilled=False))
    assert (base.steps.default, base.guidance.default) == (50, 4.0)


def test_a_folder_that_bears_a_known_name_is_that_model(tmp_path: Path) -> None:
    profile = profile_of(folder_of(tmp_path / "FLUX.2-klein-4B", "Flux2KleinPipeline", KLEIN, is_distilled=True))
    assert (profile.licence, profile.source) == ("Apache-2.0", str(tmp_path / "FLUX.2-klein-4B"))


def test_a_class_that_starts_from_a_picture_is_loaded_as_the_one_that_draws(tmp_path: Path) -> None:
    named, spec = index_of(folder_of(tmp_path / "m", "FluxInpaintPipeline"))
    assert (named, spec.pipelines) == ("FluxPipeline", ("FluxPipeline",))
    assert {name for name, part in spec.parts.items() if part.weights} == {
        "transformer",
        "text_encoder",
        "text_encoder_2",
        "vae",
    }


@pytest.mark.parametrize(
    ("name", "references", "needs"), [("JoyImageEditPipeline", 1, True), ("FluxPipeline", 0, False)]
)
def test_what_a_picture_means_to_an_unknown_class(tmp_path: Path, name: str, references: int, *, needs: bool) -> None:
    profile = profile_of(
        folder_of(
            tmp_path / "m",
            name,
            dict(FLUX, text_processor=["transformers", "AutoProcessor"], processor=["transformers", "AutoProcessor"]),
        )
    )
    assert (profile.references, profile.needs_reference) == (references, needs)
    assert (Capability.EDIT in profile.can) == bool(references)


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ("MyOwnPipeline", r"'MyOwnPipeline', a class that diffusers [\d.]+ does not have"),
        (["pipeline.py", "Mine"], "code of its own for its pipeline .*runs no code"),
        (None, "names no pipeline class"),
        ("WanPipeline", "'WanPipeline', which Easel can't draw with: it makes no pictures"),
        ("AudioLDM2Pipeline", "makes no pictures"),
        ("FluxPriorReduxPipeline", r"can't be paused between two steps \(it has no callback_on_step_end\)"),
        ("QwenImageEditPlusPipeline", "names no processor, which a QwenImageEditPlusPipeline draws with"),
    ],
)
def test_what_can_not_be_drawn_with_is_said_in_one_sentence(tmp_path: Path, named: object, sentence: str) -> None:
    with pytest.raises(UnknownModel, match=sentence) as caught:
        profile_of(folder_of(tmp_path / "m", named))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [["trap", "Trap"], ["diffusers", "os.system"], ["pipeline.py", "Mine"], [3, 4]])
def test_a_part_that_wants_code(tmp_path: Path, kind: list[object]) -> None:
    with pytest.raises(UnknownModel, match=r"needs code of its own for its vae .*runs no code that comes with a model"):
        profile_of(folder_of(tmp_path / "m", "FluxPipeline", dict(FLUX, vae=kind)))


def test_a_pipeline_without_a_denoiser(tmp_path: Path) -> None:
    parts = {name: kind for name, kind in FLUX.items() if name != "transformer"}
    with pytest.raises(UnknownModel, match="neither a transformer nor a unet"):
        profile_of(folder_of(tmp_path / "m", "FluxPipeline", parts))


def test_a_part_whose_folder_is_missing(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m", "FluxPipeline")
    (folder / "vae" / "config.json").unlink()
    (folder / "vae").rmdir()
    with pytest.raises(UnknownModel, match="'vae' is missing"):
        profile_of(folder)


@pytest.mark.parametrize(
    ("library", "made", "package"),
    [("transformers", "Qwen2VLProcessor", "torchvision"), ("kolors", "ChatGLMTokenizer", "sentencepiece")],
)
def test_a_part_that_needs_a_package_which_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, made: str, package: str
) -> None:
    folder = folder_of(tmp_path / "m", "FluxPipeline", {**FLUX, "processor": [library, made]})
    here: dict[str, bool] = {}
    monkeypatch.setattr(describe, "find_spec", here.get)
    with pytest.raises(UnknownModel, match=f"needs the package {package} for its processor: pip install"):
        profile_of(folder)
    here[package] = True
    assert profile_of(folder).pipeline == "FluxPipeline"


def test_parts_that_are_none_and_settings_are_no_parts(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m", "FluxPipeline", image_encoder=[None, None], feature_extractor=[None, None], x=3)
    _, spec = index_of(folder)
    assert set(spec.parts) == set(FLUX)
