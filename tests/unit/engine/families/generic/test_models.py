"""The known models: what their profiles say is what a folder of their class says, and their parameters are counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers
from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel

from engine.contract import LicenceTerm, Profile
from engine.families.generic.models import MODELS, PIPELINES
from engine.folders import profile_of
from tests.fakes.small_pipelines import SMALL_PIPELINES

pytestmark = pytest.mark.slow

PROFILES = tuple(model.profile for model in MODELS)
KNOWN: Mapping[str, Profile] = {profile.name: profile for profile in PROFILES}

_VL = transformers.Qwen2_5_VLConfig(
    text_config={
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
    },
    vision_config={"hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584},
    tie_word_embeddings=False,
)


def _qwen3(hidden: int, intermediate: int, *, tied: bool) -> Any:
    return transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(
            hidden_size=hidden,
            intermediate_size=intermediate,
            num_hidden_layers=36,
            num_attention_heads=32,
            num_key_value_heads=8,
            tie_word_embeddings=tied,
        )
    )


def _klein(layers: int, single: int, heads: int, width: int) -> Any:
    return diffusers.Flux2Transformer2DModel(
        num_layers=layers,
        num_single_layers=single,
        num_attention_heads=heads,
        joint_attention_dim=width,
        guidance_embeds=False,
    )


def _ministral() -> Any:
    text = {
        "model_type": "ministral3",
        "vocab_size": 131072,
        "hidden_size": 3072,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
    }
    return transformers.Mistral3Model(transformers.Mistral3Config(text_config=text))


def _sd3(layers: int, dual: int) -> Any:
    return diffusers.SD3Transformer2DModel(
        num_layers=layers,
        num_attention_heads=layers,
        caption_projection_dim=64 * layers,
        dual_attention_layers=tuple(range(dual)),
        qk_norm="rms_norm",
    )


def _t5() -> Any:
    return transformers.T5EncoderModel(
        transformers.T5Config(d_model=4096, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu")
    )


def _clip(width: int, layers: int, heads: int) -> Any:
    return transformers.CLIPTextModelWithProjection(
        transformers.CLIPTextConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            projection_dim=width,
        )
    )


def _kolors() -> Any:
    return diffusers.UNet2DConditionModel(
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=5632,
        encoder_hid_dim=4096,
        encoder_hid_dim_type="text_proj",
    )


def _chatglm() -> Any:
    return ChatGLMModel(
        ChatGLMConfig(
            padded_vocab_size=65024,
            multi_query_attention=True,
            multi_query_group_num=2,
            add_qkv_bias=True,
            original_rope=True,
        )
    )


def _flux_vae() -> Any:
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=16,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


PUBLISHED: tuple[tuple[str, str, Callable[[], Any]], ...] = (
    ("flux2-klein", "transformer", lambda: _klein(5, 20, 24, 7680)),
    ("flux2-klein", "text_encoder", lambda: _qwen3(2560, 9728, tied=True)),
    ("flux2-klein", "vae", diffusers.AutoencoderKLFlux2),
    ("flux2-klein-9b", "transformer", lambda: _klein(8, 24, 32, 12288)),
    ("flux2-klein-9b", "text_encoder", lambda: _qwen3(4096, 12288, tied=False)),
    (
        "longcat-image",
        "transformer",
        lambda: diffusers.LongCatImageTransformer2DModel(num_layers=10, num_single_layers=20),
    ),
    ("longcat-image", "text_encoder", lambda: transformers.Qwen2_5_VLForConditionalGeneration(_VL)),
    ("longcat-image", "vae", _flux_vae),
    ("qwen-image", "transformer", diffusers.QwenImageTransformer2DModel),
    ("qwen-image", "vae", diffusers.AutoencoderKLQwenImage),
    (
        "ernie-image-turbo",
        "transformer",
        lambda: diffusers.ErnieImageTransformer2DModel(
            hidden_size=4096, num_attention_heads=32, num_layers=36, ffn_hidden_size=12288, text_in_dim=3072
        ),
    ),
    ("ernie-image-turbo", "text_encoder", _ministral),
    ("chroma1-hd", "transformer", diffusers.ChromaTransformer2DModel),
    ("chroma1-hd", "text_encoder", _t5),
    ("sd3.5-medium", "transformer", lambda: _sd3(24, 13)),
    ("sd3.5-large", "transformer", lambda: _sd3(38, 0)),
    ("sd3.5-large", "text_encoder", lambda: _clip(768, 12, 12)),
    ("sd3.5-large", "text_encoder_2", lambda: _clip(1280, 32, 20)),
    (
        "lumina-image-2",
        "transformer",
        lambda: diffusers.Lumina2Transformer2DModel(cap_feat_dim=2304),
    ),
    (
        "lumina-image-2",
        "text_encoder",
        lambda: transformers.Gemma2Model(transformers.Gemma2Config()),
    ),
    ("kolors", "unet", _kolors),
    ("kolors", "text_encoder", _chatglm),
)
"""Parts of the published configurations; models of one size share them."""


@pytest.mark.parametrize(("name", "part", "build"), PUBLISHED, ids=[f"{name}-{part}" for name, part, _ in PUBLISHED])
def test_the_parameters_are_those_of_the_published_configuration(
    name: str, part: str, build: Callable[[], Any]
) -> None:
    with torch.device("meta"):
        counted = sum(parameter.numel() for parameter in build().parameters())
    assert KNOWN[name].parameters[part] == counted


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Profile]:
    """What a folder of a class says of itself."""
    root = tmp_path_factory.mktemp("small")

    def describe(name: str) -> Profile:
        small = SMALL_PIPELINES[name]
        if small.package:
            pytest.importorskip(small.package)
        folder = root / name
        return profile_of(folder if folder.is_dir() else small.build(folder, 0))

    return describe


@pytest.mark.parametrize("profile", PROFILES, ids=list(KNOWN))
def test_a_profile_says_what_its_folder_does(described: Callable[[str], Profile], profile: Profile) -> None:
    folder = described(profile.pipeline)
    same = ("can", "references", "needs_reference", "languages", "multiple", "prompt_tokens", "pipeline")
    assert [getattr(profile, name) for name in same] == [getattr(folder, name) for name in same]


def test_every_known_class_is_one_of_diffusers_and_tried_with_a_small_pipeline() -> None:
    assert all(hasattr(diffusers, name) for name in PIPELINES)
    assert set(PIPELINES) <= set(SMALL_PIPELINES)


def test_the_first_choice_for_editing_may_be_used_commercially() -> None:
    first = PROFILES[0]
    assert (first.name, first.references, first.licence, first.licence_terms) == ("flux2-klein", 4, "Apache-2.0", ())
    assert LicenceTerm.NON_COMMERCIAL in KNOWN["flux2-klein-9b"].licence_terms


def test_ernies_prompt_enhancer_is_not_a_part(tmp_path: Path) -> None:
    folder = SMALL_PIPELINES["ErnieImagePipeline"].build(tmp_path / "ernie", 0)
    for unused in ("pe", "pe_tokenizer"):
        assert (folder / unused).is_dir()
        for file in (folder / unused).iterdir():
            file.unlink()
        (folder / unused).rmdir()
    assert profile_of(folder).pipeline == "ErnieImagePipeline"
