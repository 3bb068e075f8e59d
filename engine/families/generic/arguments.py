"""Decides which arguments a pipeline's call gets for a recipe: from its signature, and from the table of known pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.contract import Capability, Recipe
from engine.families.generic.signature import Signature, sibling

_FIXED: Mapping[str, object] = {
    "use_resolution_binning": False,
    "clean_caption": False,
    "enable_prompt_rewrite": False,
}
"""Arguments that are given wherever a pipeline takes them: the picture is drawn in the size and from the words asked for."""

IMAGE, MASK = "Img2Img", "Inpaint"
"""What diffusers puts before ``Pipeline`` in the name of a class that starts from a picture."""


@dataclass(frozen=True, slots=True)
class KnownPipeline:
    """What a pipeline's signature does not say.

    Attributes:
        name: The class.
        guidance: The argument that takes the guidance scale, such as ``true_cfg_scale``; empty: as ``guidance_argument``
            decides.
        references: Most reference pictures that ``image`` takes; 0: it takes none.
        needs_reference: Whether it can't draw without one.
        side: Side in pixels of its native square, where its configs state none.
        multiple: Both sides must be multiples of this, in pixels.
        prompt_tokens: Tokens of a prompt that it reads; 0: as ``max_sequence_length`` says.
        languages: BCP 47 primary tags of the languages that prompts may be in.
        arguments: Further arguments of each call.
        unused: Parts that it has and that are not loaded.
        without: What it can't do although diffusers has a class for it, whose call fails.
        vae_dtype: Format that its VAE must have, as PyTorch names it; empty: that of the plan.
    """

    name: str
    guidance: str = ""
    references: int = 0
    needs_reference: bool = False
    side: int = 1024
    multiple: int = 16
    prompt_tokens: int = 0
    languages: tuple[str, ...] = ("en",)
    arguments: Mapping[str, object] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    without: frozenset[Capability] = frozenset()
    vae_dtype: str = ""


def unknown(signature: Signature) -> KnownPipeline:
    """Return what is taken to be true of a pipeline that is not in the table.

    A picture that it takes without a strength, a mask or a control picture is a reference, and one that edits by its
    name needs it.
    """
    takes_reference = signature.takes("image") and not any(
        signature.takes(other) for other in ("strength", "mask_image", "control_image", "controlnet_conditioning_scale")
    )
    many = "image" in signature.lists
    return KnownPipeline(
        signature.name,
        references=(4 if many else 1) if takes_reference else 0,
        needs_reference=takes_reference and "Edit" in signature.name,
    )


def guidance_argument(signature: Signature, known: KnownPipeline, *, embedded: bool) -> str:
    """Return the argument that takes the guidance scale; empty where there is none.

    Args:
        signature: The pipeline.
        known: What the table says of it.
        embedded: Whether the denoiser was distilled to take the guidance as a number (``guidance_embeds``): then
            ``true_cfg_scale``, which costs a second prediction, is not its guidance.
    """
    names = ("distilled_guidance_scale", "guidance_scale", "true_cfg_scale")
    order = names if embedded else ("true_cfg_scale", "guidance_scale", "distilled_guidance_scale")
    return known.guidance or next((name for name in order if signature.takes(name)), "")


def capabilities(signature: Signature, known: KnownPipeline, parts: frozenset[str]) -> frozenset[Capability]:
    """Return what a pipeline with these parts can do besides drawing from a prompt.

    Slight variations mix noises, and each pipeline makes its own noise.
    """
    found = set()
    if sibling(signature.name, IMAGE, parts) is not None:
        found.add(Capability.IMAGE)
    if sibling(signature.name, MASK, parts) is not None:
        found.add(Capability.MASK)
    if known.references:
        found.add(Capability.EDIT)
    return frozenset(found) - known.without


def call_arguments(signature: Signature, known: KnownPipeline, guidance: str, recipe: Recipe) -> dict[str, object]:
    """Return the arguments of a call, without pictures and generator.

    Args:
        signature: The pipeline that is called.
        known: What the table says of it.
        guidance: The argument that takes the guidance scale; empty for none.
        recipe: What to draw.
    """
    wanted: dict[str, object] = {
        "width": recipe.width,
        "height": recipe.height,
        "num_inference_steps": recipe.steps,
        "strength": recipe.strength,
        "max_area": recipe.width * recipe.height,
        **_FIXED,
        **known.arguments,
    }
    found = {name: value for name, value in wanted.items() if signature.takes(name)}
    found |= {"prompt": recipe.prompt, "output_type": "np"}
    if guidance and signature.takes(guidance):
        found[guidance] = recipe.guidance
    # Without a text, true_cfg_scale alone does nothing.
    if signature.takes("negative_prompt") and recipe.guidance > 1 and (recipe.negative or guidance == "true_cfg_scale"):
        found["negative_prompt"] = recipe.negative
    return found
