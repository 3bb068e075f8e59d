"""Small pipelines of the other classes: SD 3, HiDream, Lumina 2, PixArt Sigma, Sana, ERNIE-Image and Z-Image Omni."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderDC,
    DPMSolverMultistepScheduler,
    ErnieImagePipeline,
    ErnieImageTransformer2DModel,
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    ZImageOmniPipeline,
    ZImageTransformer2DModel,
)
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Ministral3Config,
    Ministral3ForCausalLM,
    Mistral3Config,
    Mistral3Model,
    Qwen3Config,
    Qwen3Model,
    Siglip2VisionConfig,
    Siglip2VisionModel,
)
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from tests.fakes.pipelines import clip_tokenizer, save, vae
from tests.fakes.small_pipelines.parts import (
    WIDTH,
    clip_with_projection,
    flow_scheduler,
    flux2_vae,
    flux_vae,
    gemma,
    gemma_tokenizer,
    lively,
    qwen_tokenizer,
    t5,
    t5_tokenizer,
)


def sd3(folder: Path, seed: int = 0) -> Path:
    """Save a StableDiffusion3Pipeline with the dual attention of 3.5 medium and all three text encoders."""
    torch.manual_seed(seed)
    pipe = StableDiffusion3Pipeline(
        scheduler=flow_scheduler(use_dynamic_shifting=False),
        vae=flux_vae(),
        text_encoder=clip_with_projection(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip_with_projection(),
        tokenizer_2=clip_tokenizer(pad="!"),
        text_encoder_3=t5(2 * WIDTH),
        tokenizer_3=t5_tokenizer(),
        transformer=lively(
            SD3Transformer2DModel(
                sample_size=8,
                in_channels=16,
                num_layers=2,
                attention_head_dim=16,
                num_attention_heads=2,
                # T5's width: the two CLIPs' embeddings are joined and padded to it.
                joint_attention_dim=2 * WIDTH,
                caption_projection_dim=WIDTH,
                pooled_projection_dim=2 * WIDTH,
                pos_embed_max_size=32,
                dual_attention_layers=(0,),
                qk_norm="rms_norm",
            )
        ),
    )
    return save(pipe, folder)


def hidream(folder: Path, seed: int = 0) -> Path:
    """Save a HiDreamImagePipeline with its four text encoders, of which Llama's layers are read one by one.

    Its pictures have 128x128 latents, whatever size is asked for. With two levels of the VAE, these are 256x256 pixels.
    """
    torch.manual_seed(seed)
    tokenizer = qwen_tokenizer()
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            attn_implementation="eager",  # the pipeline asks for the attention's weights
        )
    )
    pipe = HiDreamImagePipeline(
        scheduler=flow_scheduler(use_dynamic_shifting=False),
        vae=flux_vae(levels=2),
        text_encoder=clip_with_projection(positions=128),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip_with_projection(positions=128),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5(),
        tokenizer_3=t5_tokenizer(),
        text_encoder_4=llama,
        tokenizer_4=tokenizer,
        transformer=lively(
            HiDreamImageTransformer2DModel(
                patch_size=2,
                in_channels=16,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                caption_channels=[WIDTH, WIDTH],
                text_emb_dim=2 * WIDTH,
                num_routed_experts=4,
                num_activated_experts=2,
                axes_dims_rope=(8, 4, 4),
                llama_layers=[0, 1],
            )
        ),
    )
    return save(pipe, folder)


def lumina2(folder: Path, seed: int = 0) -> Path:
    """Save a Lumina2Pipeline."""
    torch.manual_seed(seed)
    pipe = Lumina2Pipeline(
        scheduler=flow_scheduler(),
        vae=flux_vae(),
        text_encoder=gemma(),
        tokenizer=gemma_tokenizer(),
        transformer=lively(
            Lumina2Transformer2DModel(
                sample_size=8,
                in_channels=16,
                hidden_size=WIDTH,
                num_layers=2,
                num_refiner_layers=1,
                num_attention_heads=2,
                num_kv_heads=1,
                multiple_of=16,
                axes_dim_rope=(4, 6, 6),
                axes_lens=(300, 64, 64),
                cap_feat_dim=WIDTH,
            )
        ),
    )
    return save(pipe, folder)


def pixart_sigma(folder: Path, seed: int = 0) -> Path:
    """Save a PixArtSigmaPipeline."""
    torch.manual_seed(seed)
    pipe = PixArtSigmaPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=t5(),
        vae=vae(scaling_factor=0.13025),
        transformer=lively(
            PixArtTransformer2DModel(
                num_attention_heads=2,
                attention_head_dim=16,
                num_layers=2,
                norm_num_groups=4,
                cross_attention_dim=WIDTH,
                sample_size=8,
                caption_channels=WIDTH,
                use_additional_conditions=False,
            )
        ),
        scheduler=DPMSolverMultistepScheduler(),
    )
    return save(pipe, folder)


def sana(folder: Path, seed: int = 0) -> Path:
    """Save a SanaPipeline with the deep compression VAE, whose latents are 32 pixels wide."""
    torch.manual_seed(seed)
    blocks = ("ResBlock", "ResBlock", "ResBlock", "EfficientViTBlock", "EfficientViTBlock", "EfficientViTBlock")
    scales = ((), (), (), (5,), (5,), (5,))
    pipe = SanaPipeline(
        tokenizer=gemma_tokenizer(),
        text_encoder=gemma(),
        vae=AutoencoderDC(
            attention_head_dim=8,
            encoder_block_types=blocks,
            decoder_block_types=blocks,
            encoder_block_out_channels=(8, 8, 8, 16, 16, 32),
            decoder_block_out_channels=(8, 8, 8, 16, 16, 32),
            encoder_layers_per_block=(1,) * 6,
            decoder_layers_per_block=(1,) * 6,
            encoder_qkv_multiscales=scales,
            decoder_qkv_multiscales=scales,
            upsample_block_type="interpolate",
            downsample_block_type="Conv",
            scaling_factor=0.41407,
        ),
        transformer=lively(
            SanaTransformer2DModel(
                num_attention_heads=2,
                attention_head_dim=16,
                num_layers=2,
                num_cross_attention_heads=2,
                cross_attention_head_dim=16,
                cross_attention_dim=WIDTH,
                caption_channels=WIDTH,
                sample_size=2,
            )
        ),
        scheduler=DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
    )
    return save(pipe, folder)


def ernie_image(folder: Path, seed: int = 0) -> Path:
    """Save an ErnieImagePipeline with the language model that would rewrite prompts."""
    torch.manual_seed(seed)
    tokenizer = qwen_tokenizer()
    encoder = Mistral3Config(
        text_config={
            "model_type": "ministral3",
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": WIDTH // 2,
        },
        vision_config={
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "head_dim": WIDTH // 2,
        },
    )
    pipe = ErnieImagePipeline(
        transformer=lively(
            ErnieImageTransformer2DModel(
                hidden_size=WIDTH,
                num_attention_heads=2,
                num_layers=2,
                ffn_hidden_size=2 * WIDTH,
                text_in_dim=WIDTH,
                rope_axes_dim=(4, 6, 6),
            )
        ),
        vae=flux2_vae(),
        text_encoder=Mistral3Model(encoder),
        tokenizer=tokenizer,
        pe=Ministral3ForCausalLM(
            Ministral3Config(
                vocab_size=len(tokenizer),
                hidden_size=WIDTH,
                intermediate_size=2 * WIDTH,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=WIDTH // 2,
            )
        ),
        pe_tokenizer=tokenizer,
        scheduler=flow_scheduler(use_dynamic_shifting=False),
    )
    return save(pipe, folder)


def z_image_omni(folder: Path, seed: int = 0) -> Path:
    """Save a ZImageOmniPipeline. It encodes its references in bf16, so the VAE must be in bf16 to edit."""
    torch.manual_seed(seed)
    tokenizer = qwen_tokenizer()
    transformer = ZImageTransformer2DModel(
        dim=2 * WIDTH,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=WIDTH,
        siglip_feat_dim=WIDTH,
        axes_dims=(8, 12, 12),
        axes_lens=(1024, 64, 64),
    )
    with torch.no_grad():
        for name, parameter in transformer.named_parameters():
            if name.endswith("pad_token"):  # left as it is in memory until weights are loaded
                parameter.normal_(std=0.02)
    pipe = ZImageOmniPipeline(
        scheduler=flow_scheduler(use_dynamic_shifting=False),
        vae=flux_vae(),
        text_encoder=Qwen3Model(
            Qwen3Config(
                vocab_size=len(tokenizer),
                hidden_size=WIDTH,
                intermediate_size=2 * WIDTH,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=WIDTH // 2,
                max_position_embeddings=1024,
            )
        ),
        tokenizer=tokenizer,
        transformer=lively(transformer),
        siglip=Siglip2VisionModel(
            Siglip2VisionConfig(
                hidden_size=WIDTH,
                intermediate_size=2 * WIDTH,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_patches=16,
            )
        ),
        siglip_processor=Siglip2ImageProcessorPil(max_num_patches=16),
    )
    return save(pipe, folder)
