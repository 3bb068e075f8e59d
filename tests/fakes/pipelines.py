"""Builds small pipelines of the real classes: seeded weights, saved as safetensors. Torch comes with it."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from safetensors.torch import load_file, save_file
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import (
    AutoTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen3Config,
    Qwen3Model,
)

from engine.families.z_image.spec import demo

_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def sd15(folder: Path, seed: int = 0) -> Path:
    """Save a StableDiffusionPipeline with the blocks of v1.5 and few channels."""
    torch.manual_seed(seed)
    pipe = StableDiffusionPipeline(
        vae=vae(),
        text_encoder=CLIPTextModel(clip_config(heads=2)),
        tokenizer=clip_tokenizer(),
        unet=UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32, 32, 32),
            norm_num_groups=8,
            layers_per_block=1,
            cross_attention_dim=32,
            attention_head_dim=2,
        ),
        scheduler=PNDMScheduler(skip_prk_steps=True, **_BETAS),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return save(pipe, folder)


def sdxl(folder: Path, seed: int = 0) -> Path:
    """Save a StableDiffusionXLPipeline with the blocks of 1.0 and few channels."""
    torch.manual_seed(seed)
    pipe = StableDiffusionXLPipeline(
        vae=vae(force_upcast=True),
        text_encoder=CLIPTextModel(clip_config(heads=2)),
        # As OpenCLIP's, whose heads are 64 wide.
        text_encoder_2=CLIPTextModelWithProjection(clip_config(width=64, heads=1, act="gelu", projection_dim=48)),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(pad="!"),
        unet=UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32, 32),
            norm_num_groups=8,
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 1, 2),
            attention_head_dim=(2, 4, 4),
            cross_attention_dim=96,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=48 + 6 * 8,
        ),
        scheduler=EulerDiscreteScheduler(**_BETAS),
    )
    return save(pipe, folder)


def z_image(folder: Path, seed: int = 0, **transformer: Any) -> Path:
    """Save a ZImagePipeline with the demo's tokenizer; ``transformer`` changes its config."""
    torch.manual_seed(seed)
    config: dict[str, Any] = {
        "all_patch_size": (2,),
        "all_f_patch_size": (1,),
        "in_channels": 16,
        "dim": 64,
        "n_layers": 2,
        "n_refiner_layers": 1,
        "n_heads": 2,
        "n_kv_heads": 2,
        "cap_feat_dim": 32,
        "axes_dims": (8, 12, 12),
        "axes_lens": (1024, 64, 64),
    }
    encoder = Qwen3Config(
        vocab_size=2000,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=1024,
    )
    model = ZImageTransformer2DModel(**config | transformer)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("pad_token"):  # left as it is in memory until weights are loaded
                parameter.normal_(std=0.02)
    pipe = ZImagePipeline(
        vae=vae(latent_channels=16, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=Qwen3Model(encoder),
        tokenizer=AutoTokenizer.from_pretrained(Path(demo().source) / "tokenizer"),
        transformer=model,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    return save(pipe, folder)


def vae(*, latent_channels: int = 4, channels: tuple[int, ...] = (8, 8, 16, 16), **config: Any) -> AutoencoderKL:
    """Return a small VAE with contrast in its pictures; a latent is eight pixels wide with four levels of channels."""
    made = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        norm_num_groups=4,
        layers_per_block=1,
        latent_channels=latent_channels,
        sample_size=64,
        **config,
    )
    with torch.no_grad():
        made.decoder.conv_out.weight.mul_(1.5)
        made.encoder.conv_out.weight.mul_(3)
    return made.eval()


def clip_tokenizer(pad: str = "<|endoftext|>") -> CLIPTokenizer:
    """Return a CLIP tokenizer with letters and a few words; other words are read letter by letter."""
    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = [("r", "e"), ("re", "d</w>"), ("c", "a"), ("ca", "t</w>"), ("t", "h"), ("th", "e</w>")]
    pieces += ["".join(pair) for pair in merges]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges, pad_token=pad, model_max_length=77
    )


def load(folder: Path) -> Any:
    """Load a pipeline in fp32."""
    pipe: Any = DiffusionPipeline.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def overflowing(folder: Path, factor: float) -> Path:
    """Scale a linear layer of the denoiser up and the one behind it down."""
    part = folder / ("unet" if (folder / "unet").is_dir() else "transformer")
    weights = part / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    pairs = {"attn2.to_v.weight": "attn2.to_out.0.weight", "attention.to_v.weight": "attention.to_out.0.weight"}
    for name in list(tensors):
        for first, then in pairs.items():
            if name.endswith(first):
                # A power of two, so that nothing is lost on the way there and back.
                power = 2.0 ** round(math.log2(factor))
                tensors[name] *= power
                tensors[name.removesuffix(first) + then] /= power
    save_file(tensors, weights, {"format": "pt"})
    return folder


def loud(folder: Path, word: str) -> Path:
    """Make the embedding of a word as large as fp32 takes well and fp16 does not."""
    weights = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(weights)
    key = next(name for name in tensors if name.endswith("token_embedding.weight"))
    tensors[key][clip_tokenizer().get_vocab()[f"{word}</w>"]] *= 1e8
    save_file(tensors, weights, {"format": "pt"})
    return folder


def clip_config(
    *, width: int = 32, heads: int, act: str = "quick_gelu", positions: int = 77, **more: Any
) -> CLIPTextConfig:
    """Return the config of a small CLIP that reads ``clip_tokenizer``'s tokens."""
    size = len(clip_tokenizer())
    return CLIPTextConfig(
        vocab_size=size,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=heads,
        max_position_embeddings=positions,
        hidden_act=act,
        bos_token_id=size - 2,
        eos_token_id=size - 1,
        pad_token_id=size - 1,
        **more,
    )


def save(pipe: Any, folder: Path) -> Path:
    """Save a pipeline of seeded weights as safetensors, and return its folder."""
    shutil.rmtree(folder, ignore_errors=True)
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.eval()
            _lively(part)
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


@torch.no_grad()
def _lively(part: nn.Module) -> None:
    """Amplify the prompt's effect: with fresh layers, two prompts would give the same picture."""
    for name, parameter in part.named_parameters():
        if "attn2" in name and parameter.dim() > 1:
            parameter.mul_(4)
