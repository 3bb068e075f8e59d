"""Finds the weights of a file that its model has no place for, which the libraries drop without a word."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import diffusers
from accelerate import init_empty_weights
from torch import nn

from engine.contract import UnknownModel
from engine.diffusion import objective, scaled_weights
from engine.families.spec import FamilySpec
from engine.folders import read
from engine.weights import TensorInfo, gguf_header, header

_DENOISER = "model.diffusion_model."
_OTHER_PARTS: Mapping[str, tuple[str, ...]] = {
    "VAE": ("first_stage_model.", "vae."),
    "text encoder": ("cond_stage_model.", "conditioner.", "text_encoders."),
}
"""Beginnings of the keys of the parts that a checkpoint may hold in addition to its denoiser."""

_PARTS = tuple(begin for begins in _OTHER_PARTS.values() for begin in begins)

_AVERAGED = "model_ema."
"""Beginning of the averaged copy of the weights, which a file for training has too."""

log = logging.getLogger(__name__)


def check(path: Path, spec: FamilySpec, folder: Path, *, whole: bool) -> None:
    """Check that a denoiser has a place for all weights that a file holds for it.

    Args:
        path: A single file, or a denoiser alone.
        spec: The model's family.
        folder: The pipeline whose configs it is loaded with.
        whole: Whether it is a single file.

    Raises:
        UnknownModel: It has not. The weights would decide the picture.
    """
    own, denoiser = _own(_tensors(path), spec, whole=whole), _empty(spec, folder)
    if denoiser is None:
        return
    more = sum(tensor.count for tensor in own.values()) - sum(t.numel() for t in denoiser.state_dict().values())
    if more > 0:
        names = _strangers(own, denoiser)
        among = f", among them {names[0][:80]}" if names else ""
        raise UnknownModel(
            f"{path} holds {more} numbers that the {spec.denoiser} of {folder} has no place for{among}; give a file for "
            f"{spec.title}, or another base."
        )


def note(path: Path, spec: FamilySpec, *, whole: bool) -> None:
    """Log what else a file holds that is not used.

    Args:
        path: A single file, or a denoiser alone, that ``check`` has passed.
        spec: The model's family.
        whole: Whether it is a single file, whose other parts are loaded too.
    """
    tensors = _tensors(path)
    rest = sorted(tensors.keys() - _own(tensors, spec, whole=whole).keys())
    if not whole:
        for title, begins in _OTHER_PARTS.items():
            if any(name.startswith(begins) for name in rest):
                how = "give it as source to draw with it" if spec.single_file else "the one of its base is"
                log.warning("%s holds a %s too, which is not used: %s", path, title, how)
        return
    # Names without a dot are the noise schedule, which the scheduler computes itself.
    unknown = [name for name in rest if "." in name and not name.startswith((*_PARTS, _AVERAGED))]
    if unknown:
        log.warning("%d of the weights in %s are not used, among them %s", len(unknown), path, unknown[0])


def _own(tensors: Mapping[str, TensorInfo], spec: FamilySpec, *, whole: bool) -> Mapping[str, TensorInfo]:
    """Return a file's weights that are the denoiser's."""
    return {
        name: tensor
        for name, tensor in tensors.items()
        if (name.startswith(_DENOISER) or not (whole or name.startswith((*_PARTS, _AVERAGED))))
        and not spec.keys.unused.fullmatch(name.removeprefix(_DENOISER))
    }


def _empty(spec: FamilySpec, folder: Path) -> Any:
    """Return a denoiser without weights; None where its config makes none, which is said when it is loaded."""
    kind = getattr(diffusers, min(spec.parts[spec.denoiser].classes))
    try:
        with init_empty_weights():
            return kind.from_config(read(folder / spec.denoiser / "config.json"))
    except UnknownModel:
        raise
    except Exception:  # noqa: BLE001 - of whatever kind the library raises
        return None


def _tensors(path: Path) -> Mapping[str, TensorInfo]:
    """Return the weights of a file, without what describes them."""
    if path.suffix.lower() == ".gguf":
        found = gguf_header(path)
    else:
        found = header(path)
        found = scaled_weights.plain_header(found, scaled_weights.read_scales(path, found))
    return {name: tensor for name, tensor in found.items() if name.rpartition(".")[2] not in objective.MARKERS}


def _strangers(own: Iterable[str], denoiser: nn.Module) -> list[str]:
    """Return the keys that begin as no key of the denoiser does, in diffusers' layout or the original one."""
    known = {name.partition(".")[0] for name, _ in denoiser.named_parameters()} | {
        "time_embed", "label_emb", "input_blocks", "middle_block", "output_blocks", "out", "x_embedder", "final_layer",
    }  # fmt: skip
    return sorted(name for name in own if name.removeprefix(_DENOISER).partition(".")[0] not in known)
