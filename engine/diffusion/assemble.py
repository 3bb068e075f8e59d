"""From a model's files to a diffusers pipeline in memory: its parts, a transformer of its own, LoRAs, its scheduler."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import (
    GGUFQuantizationConfig,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.models.model_loading_utils import load_gguf_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from engine.contract import Profile, UnknownModel
from engine.diffusion import loras
from engine.diffusion.files import Files
from engine.folders import PARTS, read
from engine.models_file import SCHEDULERS
from engine.weights import header, variant, weight_files

PIPELINES: Mapping[str, Any] = {
    "z_image": ZImagePipeline,
    "sdxl": StableDiffusionXLPipeline,
    "sd15": StableDiffusionPipeline,
}
"""What a family is loaded as, whatever its folder calls itself (img2img and inpainting share the parts)."""

_DENOISERS: Mapping[str, tuple[str, Any]] = {
    "z_image": ("transformer", ZImageTransformer2DModel),
    "sdxl": ("unet", UNet2DConditionModel),
    "sd15": ("unet", UNet2DConditionModel),
}

_OBJECTIVES = frozenset({"v_pred", "ztsnr"})
"""Keys by which a file says that it was trained to predict velocities, and down to no signal at all."""

_EXPECTED = re.compile(
    r"(?P<name>\S+) expected shape torch\.Size\((?P<wanted>.*?)\), but got torch\.Size\((?P<got>.*?)\)"
)
_MISMATCH = re.compile(
    r"size mismatch for (?P<name>\S+): copying a param with shape torch\.Size\((?P<got>.*?)\) from checkpoint, "
    r"the shape in current model is torch\.Size\((?P<wanted>.*?)\)"
)
_DECODED = re.compile(
    r"(?P<name>\S+) has an expected shape of: torch\.Size\((?P<wanted>.*?)\), but the loaded GGUF weight decodes to "
    r"shape: (?P<got>\(.*?\))"
)

_EXPECTED_LOGS: Mapping[str, str] = {
    "diffusers.loaders.lora_base": "No LoRA keys associated to ",
    "diffusers.loaders.peft": "No LoRA keys associated to ",
    "diffusers.models.modeling_utils": "should be kept in float32: []",
}
"""What the libraries say of every model and every LoRA, by logger. Their other warnings matter."""

# Nothing here draws with them. What a community allows is for its moderation to say, on every model alike.
_WITHOUT: Mapping[str, Mapping[str, object]] = {
    "z_image": {},
    "sdxl": {"feature_extractor": None, "image_encoder": None},
    "sd15": {
        "safety_checker": None,
        "feature_extractor": None,
        "image_encoder": None,
        "requires_safety_checker": False,
    },
}


def assemble(files: Files, profile: Profile, dtype: torch.dtype, **more: Any) -> Any:
    """Return the pipeline of a model whose files were checked, on the CPU.

    Args:
        files: Where its files are.
        profile: Says which scheduler it is drawn with.
        dtype: Number format of its weights. A VAE that overflows in fp16 and says so is loaded in fp32.
        more: Passed to ``from_pretrained`` of the pipeline (``quantization_config``, ``device_map``); a single file
            takes none of it.

    Raises:
        UnknownModel: Its files do not go together; one sentence.
        torch.OutOfMemoryError, MemoryError: It does not fit.
    """
    with _told(files.named):
        pipe = _pipeline(files, dtype, more)
        _whole(pipe, files)
    for lora in files.loras:
        with _told(Path(lora.source)):
            _add(pipe, Path(lora.source), lora.weight, files.family)
    pipe.set_progress_bar_config(disable=True)
    if profile.scheduler:
        with _told(files.named):
            pipe.scheduler = scheduler(profile, {**pipe.scheduler.config, **_objective(files)})
    return pipe


def scheduler(profile: Profile, config: Any) -> Any:
    """Return the profile's own scheduler, with what the pipeline's config says and the profile sets differently."""
    if profile.scheduler not in SCHEDULERS:
        raise UnknownModel(f"The model {profile.name} wants {profile.scheduler}, which Easel can't draw with.")
    return getattr(diffusers, profile.scheduler).from_config(config, **profile.scheduler_config)


def _objective(files: Files) -> Mapping[str, object]:
    """Return what a single file or a UNet alone says of its training, in a scheduler's words; epsilon where nothing."""
    path = files.whole or files.denoiser
    if path is None or files.family == "z_image" or path.suffix.lower() == ".gguf":
        return {}
    with safe_open(path, "pt") as file:
        told = (file.metadata() or {}).get("modelspec.prediction_type", "")
        names = {name.rpartition(".")[2] for name in file.keys()} & _OBJECTIVES  # noqa: SIM118  # it is no mapping
    if not names and told not in ("v", "v_prediction"):
        return {}
    zero = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"} if "ztsnr" in names else {}
    return {"prediction_type": "v_prediction"} | zero


def _pipeline(files: Files, dtype: torch.dtype, more: Mapping[str, Any]) -> Any:
    kind, without = PIPELINES[files.family], dict(_WITHOUT[files.family])
    upcast = dtype == torch.float16 and bool(read(files.folder / "vae" / "config.json").get("force_upcast"))
    if files.whole is not None:
        pipe = kind.from_single_file(
            str(files.whole), config=str(files.folder), local_files_only=True, dtype=dtype, **without
        )
        if upcast:
            pipe.vae.to(torch.float32)
        return pipe
    parts: dict[str, Any] = {}
    if files.denoiser is not None:
        part, model = _DENOISERS[files.family]
        parts[part] = _denoiser(files, files.denoiser, part, model, dtype)
    if variants := sorted({v for part in PARTS[files.family] if (v := variant(files.folder / part))}):
        parts["variant"] = variants[0]  # parts that are there in their plain form alone are loaded from that
    return kind.from_pretrained(
        str(files.folder),
        dtype={"vae": torch.float32, "default": dtype} if upcast else dtype,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        **without,
        **parts,
        **more,
    )


def _denoiser(files: Files, path: Path, part: str, model: Any, dtype: torch.dtype) -> Any:
    more: dict[str, Any] = {}
    if path.suffix.lower() == ".gguf":
        tensors = {name: _plain(name, tensor, dtype) for name, tensor in load_gguf_checkpoint(str(path)).items()}
        more["quantization_config"] = GGUFQuantizationConfig(compute_dtype=dtype)
    else:
        tensors = {name: t for name, t in load_file(path).items() if name.rpartition(".")[2] not in _OBJECTIVES}
    tensors = {name: t[None] if name.endswith("pad_token") and t.dim() == 1 else t for name, t in tensors.items()}
    if part == "unet" and any(name.startswith("input_blocks.") for name in tensors):
        # The first layout's names without the prefix that diffusers knows it by.
        tensors = {f"model.diffusion_model.{name}": tensor for name, tensor in tensors.items()}
    return model.from_single_file(
        tensors, config=str(files.folder), subfolder=part, dtype=dtype, local_files_only=True, **more
    )


def _plain(name: str, tensor: Any, dtype: torch.dtype) -> Any:
    """Return a tensor of a GGUF file; as plain numbers where it is no linear layer's, which alone may be quantised."""
    # Needs a library that is an extra of Easel's.
    from diffusers.quantizers.gguf.utils import GGUFParameter, dequantize_gguf_tensor  # noqa: PLC0415

    if not isinstance(tensor, GGUFParameter) or (name.endswith(".weight") and len(tensor.quant_shape) == 2):
        return tensor
    return dequantize_gguf_tensor(tensor).reshape(tensor.quant_shape).to(dtype)


def _whole(pipe: Any, files: Files) -> None:
    """Raise UnknownModel where weights are missing: diffusers leaves them without numbers, transformers makes some up."""
    for name, part in pipe.components.items():
        if not isinstance(part, nn.Module):
            continue
        for tensor, value in part.named_parameters():
            if value.is_meta:
                raise UnknownModel(f"its {name} lacks {tensor}")
        if name.startswith("text_encoder") and files.whole is None and getattr(part, "hf_quantizer", None) is None:
            held = {_bare(key) for path in weight_files(files.folder / name) for key in header(path)}
            tied = {_bare(key) for key in getattr(part, "all_tied_weights_keys", None) or ()}
            for tensor, _ in part.named_parameters():
                if _bare(tensor) not in held | tied:
                    raise UnknownModel(f"its {name} lacks {tensor}")


def _bare(name: str) -> str:
    """Return a weight's name without what stands before it in one class of a text encoder and not in another."""
    return re.sub(r"^(?:(?:text_model|language_model|model)\.)+", "", name)


def _add(pipe: Any, path: Path, weight: float, family: str) -> None:
    """Add a LoRA to the weights themselves, or, where these are quantised, beside them."""
    before = dict(getattr(pipe, "easel_loras", {}))
    name = f"lora{len(before)}"
    adapter = loras.read(path, pipe, family)
    pipe.load_lora_weights(dict(adapter.weights), adapter_name=name)
    loras.check_added(pipe, family, name, adapter)
    touched = list(adapter.names)
    if any(getattr(getattr(pipe, part), "hf_quantizer", None) is not None for part in touched):
        weights = before | {name: weight}
        pipe.set_adapters(list(weights), list(weights.values()))
        pipe.easel_loras = weights
        return
    pipe.fuse_lora(components=touched, lora_scale=weight, adapter_names=[name])
    pipe.unload_lora_weights()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn whatever the libraries raise for files that do not fit into one sentence; what they warn of is logged."""
    for name in _EXPECTED_LOGS:
        logging.getLogger(name).addFilter(_is_news)
    try:
        with warnings.catch_warnings():
            # peft's, for a second LoRA beside quantised weights.
            warnings.filterwarnings("ignore", "Already found a `peft_config`")
            yield
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except UnknownModel as e:
        raise UnknownModel(f"The model in {path} can't be loaded: {e}.") from e
    except Exception as e:
        raise UnknownModel(f"The model in {path} can't be loaded: {_meaning(e)}.") from e
    finally:
        for name in _EXPECTED_LOGS:
            logging.getLogger(name).removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return _EXPECTED_LOGS[record.name] not in record.getMessage()


def _meaning(error: Exception) -> str:
    """Return what a library's exception says of the files, without its advice to programmers."""
    text = " ".join(str(error).split())
    for pattern in (_EXPECTED, _MISMATCH, _DECODED):
        if (found := pattern.search(text)) is not None:
            name, wanted, got = found["name"], found["wanted"], found["got"]
            return f"its weight {name} has the shape {got} where its config wants {wanted}"
    if "ignore_mismatched_sizes" in text:
        return "the weights of its text encoder have other shapes than its config wants"
    if "meta tensor" in text:
        return "it lacks some of the weights"
    if isinstance(error, KeyError):
        return f"it lacks the weight {text}, so it is made for another model"
    return f"its weights and configs do not go together ({type(error).__name__}: {text[:300].rstrip('.')})"
