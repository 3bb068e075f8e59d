"""Loads a ControlNet for a model that is on its device: finds its files, checks them, and places it beside the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch

from engine.contract import UnknownModel
from engine.control_catalogue import config_of, family_of, folder_config
from engine.diffusion import files, scaled_weights
from engine.diffusion.errors import first_line
from engine.families.batched import BatchedFamily
from engine.families.control import ControlNet
from engine.spec import ControlSpec, is_file
from engine.weights import header, parameters, variant

_PREFIX = "control_model."


@dataclass(frozen=True, slots=True)
class ControlFiles:
    """A ControlNet's files on this machine.

    Attributes:
        spec: Which one.
        path: A folder, or a single ``.safetensors`` file.
    """

    spec: ControlSpec
    path: Path

    @property
    def parameters(self) -> int:
        """Number of its parameters."""
        if self.path.is_dir():
            return parameters(self.path)
        return sum(tensor.count for tensor in header(self.path).values())


def locate(spec: ControlSpec, folder_of: Callable[[str], str], file_of: Callable[[str], str]) -> ControlFiles:
    """Return where a ControlNet's files are.

    Args:
        spec: The ControlNet.
        folder_of: Returns the folder of a hub id or a folder; downloads it if necessary.
        file_of: Returns the path of a hub file or a path; downloads it if necessary.
    """
    return ControlFiles(spec, Path((file_of if is_file(spec.source) else folder_of)(spec.source)))


def check(found: ControlFiles) -> None:
    """Check every file that is going to be loaded.

    Raises:
        UnknownModel: A file is missing, damaged, a pickle, or of another family; one sentence.
    """
    config = folder_config(found.path) if found.path.is_dir() else config_of(header(found.path))
    files.check_single(found.path)
    family = family_of(config)
    if family is None or family.name != found.spec.family:
        made = "no ControlNet that Easel can draw with" if family is None else f"a ControlNet for {family.title}"
        raise UnknownModel(f"{found.path} holds {made}; correct its table [control.{found.spec.name}] in models.toml.")


def load(found: ControlFiles, family: BatchedFamily, dtype: torch.dtype) -> None:
    """Put a ControlNet, whose files have been checked, on a model's device, and let the model use it.

    Args:
        found: Its files.
        family: The loaded model.
        dtype: Format of its weights.

    Raises:
        UnknownModel: It does not fit the model, or its files do not fit each other; one sentence.
        torch.OutOfMemoryError, MemoryError: It does not fit the memory.
    """
    try:
        module = _folder(found, family, dtype) if found.path.is_dir() else _file(found, family, dtype)
        if lost := next((name for name, value in module.named_parameters() if value.is_meta), ""):
            raise UnknownModel(f"lacks {lost}")
        module.requires_grad_(False).eval().to(family.device)
        family.set_control(found.spec.kinds, ControlNet(Path(found.spec.source).name, module))
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except UnknownModel as e:
        raise UnknownModel(f"The ControlNet in {found.path} {e}.") from e
    except (RuntimeError, ValueError, KeyError, TypeError) as e:
        why = f"{type(e).__name__}: {first_line(e).rstrip('.')}"
        raise UnknownModel(
            f"The ControlNet in {found.path} can't be loaded: its weights and its config do not go together ({why})."
        ) from e


def _folder(found: ControlFiles, family: BatchedFamily, dtype: torch.dtype) -> Any:
    kind = getattr(diffusers, family.spec.controlnet)
    more = {"variant": v} if (v := variant(found.path)) else {}
    return kind.from_pretrained(str(found.path), dtype=dtype, use_safetensors=True, local_files_only=True, **more)


def _file(found: ControlFiles, family: BatchedFamily, dtype: torch.dtype) -> Any:
    tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in scaled_weights.load(found.path, dtype).items()}
    module, weights = family.empty_control(tensors)
    module.load_state_dict(weights, strict=True, assign=True)
    return module.to(dtype)
