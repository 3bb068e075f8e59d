"""Small pipelines with random weights, by the name of their diffusers class. Torch comes with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.small_pipelines import flux, kolors, others, qwen


@dataclass(frozen=True, slots=True)
class SmallPipeline:
    """One class: how to make it, and what its call takes.

    Attributes:
        build: Saves it in a folder, with weights of a seed, and returns the folder.
        references: Most reference pictures; 0: it draws from a prompt alone.
        needs_reference: Whether it can't draw without a reference.
        guidance: Name of the argument for the guidance scale; empty if it has no effect.
        vae_dtype: Format that its VAE must have, as PyTorch names it; empty: that of the other parts.
        package: Distribution that its parts need and that Easel does not install by itself; empty for none.
        call: Further arguments for a plain call that is short and whose seed decides the picture.
    """

    build: Callable[[Path, int], Path]
    references: int = 0
    needs_reference: bool = False
    guidance: str = "guidance_scale"
    vae_dtype: str = ""
    package: str = ""
    call: Mapping[str, object] = field(default_factory=dict)


SMALL_PIPELINES: Mapping[str, SmallPipeline] = {
    "ChromaPipeline": SmallPipeline(flux.chroma),
    "ErnieImagePipeline": SmallPipeline(others.ernie_image, call={"use_pe": False}),
    "Flux2KleinPipeline": SmallPipeline(flux.flux2_klein, references=4, guidance=""),
    "FluxKontextPipeline": SmallPipeline(flux.flux_kontext, references=1),
    "FluxPipeline": SmallPipeline(flux.flux),
    "HiDreamImagePipeline": SmallPipeline(others.hidream),
    "KolorsPipeline": SmallPipeline(kolors.kolors, package="sentencepiece"),
    "LongCatImageEditPipeline": SmallPipeline(qwen.longcat_image_edit, references=1, needs_reference=True),
    "LongCatImagePipeline": SmallPipeline(qwen.longcat_image, call={"enable_prompt_rewrite": False}),
    "Lumina2Pipeline": SmallPipeline(others.lumina2),
    "PixArtSigmaPipeline": SmallPipeline(others.pixart_sigma, call={"use_resolution_binning": False}),
    "QwenImageEditPlusPipeline": SmallPipeline(
        qwen.qwen_image_edit_plus, references=3, needs_reference=True, guidance="true_cfg_scale"
    ),
    "QwenImagePipeline": SmallPipeline(qwen.qwen_image, guidance="true_cfg_scale"),
    "SanaPipeline": SmallPipeline(others.sana, call={"use_resolution_binning": False}),
    "StableDiffusion3Pipeline": SmallPipeline(others.sd3),
    "ZImageOmniPipeline": SmallPipeline(others.z_image_omni, references=4, vae_dtype="bfloat16"),
}
"""Classes that the generic family is tried with."""
