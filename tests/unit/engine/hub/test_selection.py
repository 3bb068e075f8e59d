from __future__ import annotations

import pytest

from engine.hub.errors import FetchError
from engine.hub.selection import Selection, is_useful, select_files

# What stabilityai/stable-diffusion-xl-base-1.0 has, but for pictures and words.
SDXL = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "sd_xl_base_1.0.safetensors",
    "sd_xl_base_1.0_0.9vae.safetensors",
    "sd_xl_offset_example-lora_1.0.safetensors",
    "text_encoder/config.json",
    "text_encoder/flax_model.msgpack",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/model.onnx",
    "text_encoder/model.safetensors",
    "text_encoder/openvino_model.bin",
    "text_encoder/openvino_model.xml",
    "text_encoder_2/config.json",
    "text_encoder_2/model.fp16.safetensors",
    "text_encoder_2/model.safetensors",
    "text_encoder_2/model.onnx_data",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "tokenizer_2/merges.txt",
    "tokenizer_2/vocab.json",
    "unet/config.json",
    "unet/diffusion_flax_model.msgpack",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "unet/model.onnx",
    "vae/config.json",
    "vae/diffusion_pytorch_model.fp16.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "vae_1_0/config.json",
    "vae_1_0/diffusion_pytorch_model.safetensors",
    "vae_decoder/config.json",
    "vae_decoder/model.onnx",
    "vae_encoder/config.json",
]
INDEX: dict[str, object] = {
    "_class_name": "StableDiffusionXLPipeline",
    "force_zeros_for_empty_prompt": True,
    "feature_extractor": [None, None],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def weights(paths: tuple[str, ...]) -> list[str]:
    return [path for path in paths if path.endswith(".safetensors")]


def test_of_sdxl_each_part_is_taken_once() -> None:
    taken = select_files(SDXL, INDEX)
    assert weights(taken) == [
        "text_encoder/model.safetensors",
        "text_encoder_2/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]
    assert {"model_index.json", "tokenizer/merges.txt", "unet/config.json"} <= set(taken)
    assert not [path for path in taken if not is_useful(path) or path.startswith("vae_")]


def test_weights_that_are_not_wanted() -> None:
    taken = select_files(SDXL, INDEX, Selection(without=frozenset({"unet", "transformer"})))
    assert weights(taken) == weights(select_files([p for p in SDXL if "unet/diffusion" not in p], INDEX, Selection(
        without=frozenset({"unet"}))))  # fmt: skip
    assert "unet/config.json" in taken
    assert weights(select_files(SDXL, INDEX, Selection(weights=False))) == []


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["model.fp16.safetensors", "model.non_ema.safetensors"], ["model.fp16.safetensors"]),
        (["model.bf16.safetensors", "model.fp16.safetensors"], ["model.fp16.safetensors"]),
        (["model.bf16.safetensors"], ["model.bf16.safetensors"]),
        (
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.fp16.safetensors"],
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
        ),
        (
            ["model.fp16-00001-of-00002.safetensors", "model.fp16-00002-of-00002.safetensors", "x.non_ema.safetensors"],
            ["model.fp16-00001-of-00002.safetensors", "model.fp16-00002-of-00002.safetensors"],
        ),
    ],
)
def test_one_form_of_the_same_weights(there: list[str], taken: list[str]) -> None:
    paths = ["model_index.json", "unet/config.json", *(f"unet/{name}" for name in there)]
    index = {"unet": ["diffusers", "UNet2DConditionModel"]}
    assert weights(select_files(paths, index)) == [f"unet/{name}" for name in taken]


def test_hidden_files_stay_there() -> None:
    hidden = ["vae/._diffusion_pytorch_model.safetensors", "vae/._config.json", "unet/.config.json"]
    index = {part: ["diffusers", "Some"] for part in ("vae", "unet")}
    assert not set(hidden) & set(select_files([*SDXL, *hidden], index))


def test_a_part_of_pickles_is_refused() -> None:
    paths = ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.bin"]
    with pytest.raises(FetchError, match="unet"):
        select_files(paths, {"unet": ["diffusers", "UNet2DConditionModel"]})


@pytest.mark.parametrize("path", ["a/model.ckpt", "run.py", "a/pytorch_model.bin", "README.md", "a.msgpack", "a.onnx"])
def test_what_no_model_is_loaded_from(path: str) -> None:
    assert not is_useful(path)


def test_what_nothing_draws_with_stays_there() -> None:
    index: dict[str, object] = {"safety_checker": ["stable_diffusion", "X"], "vae": ["diffusers", "AutoencoderKL"]}
    paths = ["safety_checker/config.json", "safety_checker/model.safetensors", "vae/config.json", "vae/x.safetensors"]
    assert weights(select_files(paths, index)) == ["vae/x.safetensors"]
    # As a pickle it does no harm either.
    assert weights(select_files([paths[0], *paths[2:]], index)) == ["vae/x.safetensors"]
