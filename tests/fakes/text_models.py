"""Builds small models that write texts, of the real classes: seeded weights, saved as safetensors. Torch comes with it."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    AutoTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    GPT2Config,
    Qwen3Config,
    Qwen3ForCausalLM,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessor,
)

from engine.families.z_image.spec import demo

SIDE = 32
"""Sides of the pictures that the captioners look at, in pixels."""

_TOKENS = 2000
"""Tokens of the demo's tokenizer, which they share."""

_END = 2


def writer(folder: Path, seed: int = 0) -> Path:
    """Save a Qwen3ForCausalLM with the demo's tokenizer; its head is its embeddings, as that of Qwen3-4B."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=_TOKENS,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=2048,
        initializer_range=0.2,
        tie_word_embeddings=True,
        eos_token_id=_END,
    )
    _tokenizer(folder)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


def blip(folder: Path, seed: int = 0) -> Path:
    """Save a BlipForConditionalGeneration with the demo's tokenizer."""
    torch.manual_seed(seed)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"encoder_hidden_size": 32, "projection_dim": 32, "vocab_size": _TOKENS, "initializer_range": 0.2}
    tokens = {"bos_token_id": 4, "sep_token_id": _END, "eos_token_id": _END, "pad_token_id": 0}
    vision = {"image_size": SIDE, "patch_size": 8, "projection_dim": 32}
    made = BlipForConditionalGeneration(BlipConfig(text_config=size | text | tokens, vision_config=size | vision))
    _tokenizer(folder)
    BlipImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def vit_gpt2(folder: Path, seed: int = 0) -> Path:
    """Save a VisionEncoderDecoderModel of ViT and GPT-2 with the demo's tokenizer."""
    torch.manual_seed(seed)
    encoder = ViTConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=8,
    )
    decoder = GPT2Config(vocab_size=_TOKENS, n_embd=32, n_layer=2, n_head=2, initializer_range=0.2, n_positions=128)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 4, 0, _END
    made = VisionEncoderDecoderModel(config)
    made.generation_config.update(decoder_start_token_id=4, bos_token_id=4, pad_token_id=0, eos_token_id=_END)
    _tokenizer(folder)
    ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def _tokenizer(folder: Path) -> None:
    AutoTokenizer.from_pretrained(Path(demo().source) / "tokenizer").save_pretrained(folder)
