"""A small KolorsPipeline: a UNet whose prompts a ChatGLM reads. Its tokenizer needs sentencepiece."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from diffusers import EulerDiscreteScheduler, KolorsPipeline, UNet2DConditionModel
from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel
from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer

from tests.fakes.pipelines import save, vae
from tests.fakes.small_pipelines.parts import WIDTH

_SENTENCES = ("a red cat", "a blue dog", "the ball", "the quick brown fox jumps over the lazy dog")


def kolors(folder: Path, seed: int = 0) -> Path:
    """Save a KolorsPipeline."""
    torch.manual_seed(seed)
    with TemporaryDirectory() as vocabulary:
        path = Path(vocabulary, "tokenizer.model")
        _write_vocabulary(path)
        # Saving copies the file.
        return save(_pipeline(ChatGLMTokenizer(str(path))), folder)


def _pipeline(tokenizer: ChatGLMTokenizer) -> KolorsPipeline:
    return KolorsPipeline(
        vae=vae(scaling_factor=0.13025),
        text_encoder=_chatglm(),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32, 32),
            norm_num_groups=8,
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 1, 2),
            attention_head_dim=(2, 4, 4),
            cross_attention_dim=WIDTH,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=WIDTH + 6 * 8,
            encoder_hid_dim=WIDTH,
            encoder_hid_dim_type="text_proj",
        ),
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.014, beta_schedule="scaled_linear"),
    )


def _chatglm() -> ChatGLMModel:
    model = ChatGLMModel(
        ChatGLMConfig(
            num_layers=2,
            padded_vocab_size=128,
            hidden_size=WIDTH,
            ffn_hidden_size=2 * WIDTH,
            kv_channels=16,
            num_attention_heads=2,
            seq_length=256,
            multi_query_attention=True,
            multi_query_group_num=1,
            add_qkv_bias=True,
            original_rope=True,
        )
    )
    for name, parameter in model.named_parameters():  # it has no initial values of its own
        torch.nn.init.normal_(parameter, std=0.1) if parameter.dim() > 1 else torch.nn.init.constant_(
            parameter, float("norm" in name)
        )
    return model


def _write_vocabulary(path: Path) -> None:
    from sentencepiece import SentencePieceTrainer  # noqa: PLC0415  # an extra

    written = BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES * 5),
        model_writer=written,
        vocab_size=64,
        hard_vocab_limit=False,
        character_coverage=1.0,
        minloglevel=2,
    )
    path.write_bytes(written.getvalue())
