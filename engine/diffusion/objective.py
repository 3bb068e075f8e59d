"""Reads which training objective a weight file states: noise or velocity, and a zero terminal signal-to-noise ratio."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from safetensors import safe_open

from engine.contract import UnknownModel
from engine.weights import gguf_header

MARKERS = frozenset({"v_pred", "ztsnr"})
"""Empty tensors that ComfyUI writes into a file trained with v-prediction, and with a zero terminal SNR."""

VELOCITY = "v_prediction"

_STATED = ("modelspec.prediction_type", "modelspec.predict_key")
"""Metadata keys that name the objective: those of sd-scripts and of ComfyUI."""

_ZERO_SNR = "ss_zero_terminal_snr"
"""Metadata key of sd-scripts; ``True`` where the file was trained with a zero terminal SNR."""

_TYPES: Mapping[str, str] = {
    "": "",
    "epsilon": "epsilon",
    "eps": "epsilon",
    "v": VELOCITY,
    "v_pred": VELOCITY,
    "v_prediction": VELOCITY,
}
"""diffusers' name of each objective by the names in metadata."""

log = logging.getLogger(__name__)


def scheduler_config(path: Path, base: Mapping[str, object]) -> Mapping[str, object]:
    """Return what a file's objective changes in the scheduler's config; empty where it states none.

    A marker tensor counts more than metadata, and the base's config more than metadata that names noise: some trainers
    and mergers write ``epsilon`` into every file.

    Args:
        path: A ``.safetensors`` or ``.gguf`` file.
        base: Config of the pipeline's scheduler.

    Raises:
        UnknownModel: The metadata names an objective that can't be drawn with.
    """
    names, metadata = _names_and_metadata(path)
    markers = {name.rpartition(".")[2] for name in names} & MARKERS
    stated = _stated(path, metadata)
    if not markers and stated != VELOCITY:
        if stated and base.get("prediction_type", stated) != stated:
            log.warning(
                "%s states %s and its base %s, which is drawn with; scheduler_config in models.toml changes that",
                path,
                stated,
                base["prediction_type"],
            )
        return {}
    zero = "ztsnr" in markers or metadata.get(_ZERO_SNR, "").lower() == "true"
    log.info("%s was trained with v-prediction%s", path, " and a zero terminal SNR" if zero else "")
    # From "Common Diffusion Noise Schedules and Sample Steps are Flawed" (arXiv 2305.08891): such a model has to begin
    # at the last timestep, which leading timesteps leave out.
    more = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"} if zero else {}
    return {"prediction_type": VELOCITY} | more


def check(path: Path) -> None:
    """Check the objective that a file states.

    Raises:
        UnknownModel: The metadata names an objective that can't be drawn with.
    """
    _stated(path, _names_and_metadata(path)[1])


def _names_and_metadata(path: Path) -> tuple[Collection[str], Mapping[str, str]]:
    if path.suffix.lower() == ".gguf":
        return gguf_header(path), {}
    with safe_open(path, "pt") as file:
        return tuple(file.keys()), file.metadata() or {}


def _stated(path: Path, metadata: Mapping[str, str]) -> str:
    """Return the objective that the metadata names, as diffusers calls it; empty where it names none."""
    for key in _STATED:
        name = metadata.get(key, "")
        found = _TYPES.get(name.strip().lower().replace("-", "_"))
        if found is None:
            raise UnknownModel(
                f"The model's file {path} was trained for {name[:40]!r}, as its metadata {key} says, which Easel can't "
                "draw with."
            )
        if found:
            return found
    return ""
