"""Builds a diffusers pipeline from a model's files: its parts, a separate denoiser, LoRAs and the scheduler."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import GGUFQuantizationConfig
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
from diffusers.models.model_loading_utils import load_gguf_checkpoint
from torch import nn

from engine.contract import Profile, UnknownModel
from engine.diffusion import leftovers, lora_hooks, loras, objective, scaled_weights, svdquant
from engine.diffusion.files import Files
from engine.diffusion.lora_targets import targets_of
from engine.diffusion.memory import apply
from engine.diffusion.memory.pending import LayerChange
from engine.families.registry import model_class, spec_of
from engine.families.spec import TEXT_ENCODER
from engine.folders import read
from engine.weights import gguf_header, header, variant, weight_files

_FEW_STEPS = frozenset({"LCMScheduler", "TCDScheduler"})
"""Schedulers of models that were distilled for them; other ones are exchanged without a loss."""

log = logging.getLogger(__name__)

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
    "diffusers.models.modeling_utils": "should be kept in float32: []",
}
"""Messages that the libraries log for every model, by logger. Their other warnings matter."""


def assemble(
    files: Files,
    profile: Profile,
    dtype: torch.dtype,
    *,
    stored: Mapping[str, torch.dtype] | None = None,
    changes: dict[nn.Module, list[LayerChange]] | None = None,
    **more: Any,
) -> Any:
    """Return the pipeline of a model whose files have been checked, on the CPU.

    Args:
        files: Its files.
        profile: Names its scheduler.
        dtype: Format of its weights. A VAE whose config states that it overflows in fp16 is loaded in fp32.
        stored: The parts that are loaded in the format of their files, and that format; these are mapped, not read.
        changes: Receives what adds LoRAs to the weights, by layer; None: they are added at once. Where weights are
            quantised already, LoRAs are computed separately.
        more: Passed to the pipeline's ``from_pretrained`` (``quantization_config``, ``device_map``); not used for a
            single file.

    Raises:
        UnknownModel: Its files do not fit each other; one sentence.
        torch.OutOfMemoryError, MemoryError: It does not fit the memory.
    """
    with _one_sentence(files.named):
        pipe = _pipeline(files, dtype, stored or {}, more)
        _whole(pipe, files)
    if (path := files.whole or files.denoiser) is not None and not svdquant.form_of_file(files.denoiser):
        leftovers.note(path, files.spec, whole=files.whole is not None)
    for lora in files.loras:
        with _one_sentence(Path(lora.source)):
            _add(pipe, Path(lora.source), lora.weight, files.family, changes)
    pipe.set_progress_bar_config(disable=True)
    if profile.scheduler:
        with _one_sentence(files.named):
            config = dict(pipe.scheduler.config)
            if (own := type(pipe.scheduler).__name__) in _FEW_STEPS - {profile.scheduler}:
                log.warning(
                    "%s was made for %s and is drawn with %s; scheduler in models.toml changes that",
                    files.named,
                    own,
                    profile.scheduler,
                )
            pipe.scheduler = scheduler(profile, config | dict(_objective(files, config)))
    return pipe


def scheduler(profile: Profile, config: Any) -> Any:
    """Return the profile's scheduler, configured as the pipeline's and then as the profile overrides it.

    Raises:
        UnknownModel: The family does not draw with this scheduler.
    """
    if profile.scheduler not in spec_of(profile.family).schedulers:
        raise UnknownModel(f"The model {profile.name} wants {profile.scheduler}, which Easel can't draw with.")
    return getattr(diffusers, profile.scheduler).from_config(config, **profile.scheduler_config)


def _objective(files: Files, base: Mapping[str, object]) -> Mapping[str, object]:
    """Return what the training objective that a weight file states changes in the scheduler's config."""
    path = files.whole or files.denoiser
    return objective.scheduler_config(path, base) if path is not None and files.spec.schedulers else {}


def _pipeline(files: Files, dtype: torch.dtype, stored: Mapping[str, torch.dtype], more: Mapping[str, Any]) -> Any:
    family = files.spec
    kind, without = getattr(diffusers, family.pipelines[0]), dict(family.omitted)
    # A pipeline's own call casts its VAE when it needs to.
    upcast = (
        dtype == torch.float16
        and "vae" not in stored
        and family.describe is None
        and bool(read(files.folder / "vae" / "config.json").get("force_upcast"))
    )
    if files.whole is not None:
        pipe = kind.from_single_file(
            str(files.whole),
            config=str(files.folder),
            local_files_only=True,
            dtype=next(iter(stored.values()), dtype),  # the parts of one file are in one format, or in none of theirs
            **without,
            **_scaled_parts(files, files.whole, dtype),
        )
        if upcast:
            pipe.vae.to(torch.float32)
        return pipe
    parts: dict[str, Any] = {}
    if files.denoiser is not None:
        parts[family.denoiser] = _denoiser(files, files.denoiser, stored.get(family.denoiser, dtype))
    if variants := sorted({v for part in family.parts if (v := variant(files.folder / part))}):
        parts["variant"] = variants[0]  # parts without this variant are loaded from their plain files
    return kind.from_pretrained(
        str(files.folder),
        dtype={"default": dtype, **({"vae": torch.float32} if upcast else {}), **stored},
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        **without,
        **parts,
        **more,
    )


def _scaled_parts(files: Files, path: Path, dtype: torch.dtype) -> Mapping[str, Any]:
    """Return the parts of a single file whose weights have scales, dequantised; empty where none has."""
    if not scaled_weights.read_scales(path, header(path)):
        return {}
    tensors = scaled_weights.load(path, dtype)
    found: dict[str, Any] = {}
    for name, part in files.spec.parts.items():
        where = {"config": str(files.folder), "subfolder": name, "local_files_only": True}
        if part.weights and part.library == "diffusers":
            found[name] = getattr(diffusers, min(part.classes)).from_single_file(dict(tensors), dtype=dtype, **where)
        elif part.weights:  # a text encoder, for which the libraries have no method
            kind = getattr(transformers, min(part.classes))
            found[name] = create_diffusers_clip_model_from_ldm(kind, dict(tensors), torch_dtype=dtype, **where)
    return found


def _denoiser(files: Files, path: Path, dtype: torch.dtype) -> Any:
    part = files.spec.denoiser
    model = getattr(diffusers, min(files.spec.parts[part].classes))
    more: dict[str, Any] = {}
    if path.suffix.lower() == ".gguf":
        infos = gguf_header(path)
        tensors = {
            name: _plain(name, tensor, infos[name].shape, dtype)
            for name, tensor in load_gguf_checkpoint(str(path)).items()
        }
        more["quantization_config"] = GGUFQuantizationConfig(compute_dtype=dtype)
    elif svdquant.form_of_file(path):
        return svdquant.load(path, min(files.spec.parts[part].classes), dtype)
    else:
        tensors = scaled_weights.load(path, dtype)
    tensors = {name: tensor for name, tensor in tensors.items() if name.rpartition(".")[2] not in objective.MARKERS}
    return model.from_single_file(
        model_class(files.family).denoiser_tensors(tensors),
        config=str(files.folder),
        subfolder=part,
        dtype=dtype,
        local_files_only=True,
        **more,
    )


def _plain(name: str, tensor: Any, shape: tuple[int, ...], dtype: torch.dtype) -> Any:
    """Return a tensor of a GGUF file, dequantised unless it is the weight of a linear layer in its own shape."""
    # Imports gguf, which is an optional dependency.
    from diffusers.quantizers.gguf.utils import GGUFParameter, dequantize_gguf_tensor  # noqa: PLC0415

    if not isinstance(tensor, GGUFParameter):
        return tensor.reshape(shape)
    if name.endswith(".weight") and len(shape) == 2 and tuple(tensor.quant_shape) == shape:
        return tensor
    return dequantize_gguf_tensor(tensor).reshape(shape).to(dtype)


def _whole(pipe: Any, files: Files) -> None:
    """Raise UnknownModel where weights are missing: diffusers leaves them on meta, transformers initialises them."""
    for name, part in pipe.components.items():
        if not isinstance(part, nn.Module):
            continue
        for tensor, value in part.named_parameters():
            if value.is_meta:
                raise UnknownModel(f"its {name} lacks {tensor}")
        if name.startswith(TEXT_ENCODER) and files.whole is None and getattr(part, "hf_quantizer", None) is None:
            held = {_bare(key) for path in weight_files(files.folder / name) for key in header(path)}
            tied = {_bare(key) for key in getattr(part, "all_tied_weights_keys", None) or ()}
            for tensor, _ in part.named_parameters():
                if _bare(tensor) not in held | tied:
                    raise UnknownModel(f"its {name} lacks {tensor}")


def _bare(name: str) -> str:
    """Return a weight's name without the prefixes that differ between the classes of a text encoder."""
    return re.sub(r"^(?:(?:text_model|language_model|model)\.)+", "", name)


def _add(pipe: Any, path: Path, weight: float, family: str, changes: dict[nn.Module, list[LayerChange]] | None) -> None:
    """Add a LoRA to the weights; where they are quantised, compute it separately."""
    parts = {part: getattr(pipe, part) for part in spec_of(family).lora_parts}
    targets = targets_of(parts, model_class(family))
    adapter = loras.read(path, targets)
    touched = {part for part, _ in adapter.layers}
    if any(apply.is_quantised(parts[part]) for part in touched):
        hooks = lora_hooks.hooks_of([(adapter, {}, weight)], targets, torch.device("cpu"))
        lora_hooks.ActiveHooks(targets).always(hooks)
        return
    for layer, change in lora_hooks.merges(adapter, targets, weight):
        if changes is None:
            change(layer)
        else:
            changes.setdefault(layer, []).append(change)


@contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    """Turn any exception of the libraries into UnknownModel with one sentence; their warnings are logged."""
    for name in _EXPECTED_LOGS:
        logging.getLogger(name).addFilter(_is_news)
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except UnknownModel as e:
        raise UnknownModel(f"The model in {path} can't be loaded: {e}.") from e
    except Exception as e:
        raise UnknownModel(f"The model in {path} can't be loaded: {_explain(e)}.") from e
    finally:
        for name in _EXPECTED_LOGS:
            logging.getLogger(name).removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return _EXPECTED_LOGS[record.name] not in record.getMessage()


def _explain(error: Exception) -> str:
    """Return what a library's exception says about the files, without its advice to programmers."""
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
