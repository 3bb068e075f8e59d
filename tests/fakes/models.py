"""Small models for tests: the bundled demo model's folder, changed where a test needs it to misbehave, and every class.

Torch comes with most of them and is imported when it is used: most tests that import this module do without.
"""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

from engine import catalogue
from engine.contract import Profile
from engine.families.registry import spec_of
from engine.families.z_image.spec import demo

POISON = "zebra"
"""The word that a poisoned model can't take."""


def profile_for(model: str) -> Profile:
    """Return the profile of the default model that ``EASEL_MODEL`` names. Raises UnknownModel."""
    return catalogue.specs(model, "", "")[0].profile


def copy(folder: Path) -> Path:
    """Copy the demo pipeline to ``folder`` and return it; loaded by the same path as any other model."""
    return Path(shutil.copytree(demo().source, folder))


def poisoned(folder: Path, word: str = f" {POISON}") -> Path:
    """Return a pipeline whose text encoder knows nothing finite about a word (as the tokenizer has it)."""
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    copy(folder)
    weights = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(weights)
    vocabulary = json.loads((folder / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    key = next(k for k in tensors if k.endswith("embed_tokens.weight"))
    tensors[key][vocabulary[word.replace(" ", "Ġ")]] = float("nan")
    save_file(tensors, weights, {"format": "pt"})
    return folder


def cut_short(folder: Path, part: str = "transformer") -> Path:
    """Return a pipeline one of whose weight files ends in the middle, as after a broken download."""
    copy(folder)
    weights = next((folder / part).glob("*.safetensors"))
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    return folder


def pickled(folder: Path, trap: Path) -> Path:
    """Return a pipeline whose text encoder is a pickle that would make the file ``trap``."""
    copy(folder)
    (folder / "text_encoder" / "model.safetensors").unlink()

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (trap,)

    with zipfile.ZipFile(folder / "text_encoder" / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
        archive.writestr("archive/version", "3")
    return folder


def coded(folder: Path, trap: Path) -> Path:
    """Return a pipeline with a component whose class is code in the folder, which would make the file ``trap``."""
    copy(folder)
    (folder / "scheduler" / "trap.py").write_text(f"open({str(trap)!r}, 'w').close()\nclass Trap: pass\n")
    (folder / "trap.py").write_text(f"open({str(trap)!r}, 'w').close()\nclass Trap: pass\n")
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["trap", "Trap"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def small_sd15(folder: Path, seed: int = 0) -> Path:
    """Save a small StableDiffusionPipeline of random weights; its native side is 64."""
    from tests.fakes import pipelines  # noqa: PLC0415

    return pipelines.sd15(folder, seed)


def small_sdxl(folder: Path, seed: int = 0) -> Path:
    """Save a small StableDiffusionXLPipeline of random weights; its native side is 64."""
    from tests.fakes import pipelines  # noqa: PLC0415

    return pipelines.sdxl(folder, seed)


def small_z_image(folder: Path, seed: int = 0, **transformer: Any) -> Path:
    """Save a small ZImagePipeline of random weights; its native side is 64. ``transformer`` changes that config."""
    from tests.fakes import pipelines  # noqa: PLC0415

    return pipelines.z_image(folder, seed, **transformer)


SMALL = {"sd15": small_sd15, "sdxl": small_sdxl, "z_image": small_z_image}
"""By family."""


def single_file(folder: Path, path: Path) -> Path:
    """Write the SD 1.5 or SDXL pipeline in a folder as one file, in the layout that it was first published in."""
    from tests.fakes import pipelines, single_files  # noqa: PLC0415

    return single_files.single_file(pipelines.load(folder), path)


def transformer_alone(folder: Path, path: Path, *, layout: str = "diffusers") -> Path:
    """Write the transformer or UNet of a pipeline as one file, in diffusers' layout or the ``original`` one."""
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    from tests.fakes import pipelines, single_files  # noqa: PLC0415

    if layout == "diffusers":
        part = folder / ("unet" if (folder / "unet").is_dir() else "transformer")
        tensors = load_file(part / "diffusion_pytorch_model.safetensors")
    else:
        pipe = pipelines.load(folder)
        found = single_files.unet(pipe.unet) if hasattr(pipe, "unet") else single_files.z_image(pipe.transformer)
        tensors = {f"model.diffusion_model.{name}": tensor.contiguous() for name, tensor in found.items()}
    save_file(tensors, path)
    return path


def lora(folder: Path, path: Path, *, style: str = "", scale: float = 1.0) -> Path:
    """Write a LoRA for the pipeline in a folder: ``kohya`` or ``peft`` names (default: its family's usual ones)."""
    from tests.fakes import loras, pipelines  # noqa: PLC0415

    pipe = pipelines.load(folder)
    if not hasattr(pipe, "unet"):
        return loras.peft(pipe, path, prefix=style or "diffusion_model", scale=scale)
    if style == "peft":
        return loras.peft(pipe, path, prefix="unet", scale=scale)
    return loras.kohya(pipe, path, scale=scale)


def write_lora(path: Path, form: str = "lora", *, folder: Path | None = None, seed: int = 1) -> Path:
    """Write a LoRA of a form of ``tests.fakes.lora_forms`` for the pipeline in a folder; None: the demo."""
    from safetensors.torch import save_file  # noqa: PLC0415

    from tests.fakes import lora_forms, pipelines  # noqa: PLC0415

    pipe = pipelines.load(folder or Path(demo().source))
    save_file(lora_forms.build(pipe, lora_forms.FORMS[form], seed=seed)[0], path)
    return path


def zoo(root: Path) -> Path:
    """Write one small pipeline of each family, and of each its LoRA, its transformer alone in two layouts, its file.

    ``<family>/``, ``<family>-lora``, ``-alone``, ``-first`` and, for families that have single files, ``<family>.safetensors``.
    """
    for name, make in SMALL.items():
        make(root / name)
        lora(root / name, root / f"{name}-lora.safetensors")
        transformer_alone(root / name, root / f"{name}-alone.safetensors")
        transformer_alone(root / name, root / f"{name}-first.safetensors", layout="original")
        if spec_of(name).single_file:
            single_file(root / name, root / f"{name}.safetensors")
    return root


def overflowing(folder: Path, family: str = "z_image", factor: float = 1e5) -> Path:
    """Save a small pipeline that draws well in fp32 and bf16 and overflows in fp16: inside, numbers pass 65,504.

    A layer's weights are ``factor`` times as large, and those of the next as much smaller.
    """
    from tests.fakes import pipelines  # noqa: PLC0415

    return pipelines.overflowing(SMALL[family](folder), factor)


LOUD = "the"
"""The word whose numbers are too large for fp16 in a model that ``loud`` makes."""


def loud(folder: Path) -> Path:
    """Save a small StableDiffusionPipeline that draws well in fp16, but for prompts with the word ``LOUD``."""
    from tests.fakes import pipelines  # noqa: PLC0415

    return pipelines.loud(small_sd15(folder), LOUD)
