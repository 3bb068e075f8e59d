"""Stands for the package nunchaku: writes a transformer in SVDQuant, and a package that computes with it on a processor.

The tensors of a quantised layer have the names, shapes and dtypes of nunchaku's; its kernels' order of the numbers is
not known here, so that weights are packed in their own order, two to a byte.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import ZImageTransformer2DModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.fakes import pipelines

GROUP = 64
"""Inputs that share a scale in int4; 16 in fp4."""

RANK = 16

_LAYERS = ("attention.to_out.0", "feed_forward.w1", "feed_forward.w3")


class SVDQW4A4Linear(nn.Module):
    """A linear layer with weights in four bits and a low-rank part."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_parameter(name, nn.Parameter(tensor, requires_grad=False))

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., outputs) for (..., inputs)."""
        packed: Any = self.qweight
        low, high = (packed << 4) >> 4, packed >> 4  # both with their signs
        weight = torch.stack([low, high], dim=-1).flatten(1).float()
        scales: Any = self.wscales
        weight = weight * scales.float().T.repeat_interleave(GROUP, dim=1)
        up: Any = self.proj_up
        down: Any = self.proj_down
        found: Tensor = x @ (weight + up.float() @ down.float().T).to(x.dtype).T
        return found


class NunchakuZImageTransformer2DModel:
    """Loads a transformer as nunchaku does: the config is in the file."""

    loaded: int = 0

    @classmethod
    def from_pretrained(cls, path: str, *, torch_dtype: torch.dtype) -> Any:
        """Return the transformer, on the CPU."""
        cls.loaded += 1
        with safe_open(path, "pt") as file:
            config = json.loads(file.metadata()["config"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        model: Any = ZImageTransformer2DModel.from_config(config).to(torch_dtype)
        for name in sorted({n.removesuffix(".qweight") for n in tensors if n.endswith(".qweight")}):
            own = {n.removeprefix(f"{name}."): tensors.pop(n) for n in list(tensors) if n.startswith(f"{name}.")}
            owner, _, last = name.rpartition(".")
            setattr(model.get_submodule(owner), last, SVDQW4A4Linear(own))
        model.load_state_dict(tensors, strict=False)
        return model.to(torch_dtype)


def write(folder: Path, path: Path, *, form: str = "int4") -> Path:
    """Write the transformer of a small ZImagePipeline in SVDQuant. A file in ``fp4`` can only be recognised."""
    transformer = pipelines.load(folder).transformer
    tensors = {name: tensor.contiguous() for name, tensor in transformer.state_dict().items()}
    for number in range(len(transformer.layers)):
        for layer in _LAYERS:
            name = f"layers.{number}.{layer}"
            weight = tensors.pop(f"{name}.weight").float()
            for last, tensor in _quantised(weight, form).items():
                tensors[f"{name}.{last}"] = tensor
    texts = {
        "config": json.dumps(dict(transformer.config), default=list),
        "model_class": "NunchakuZImageTransformer2DModel",
    }
    save_file(tensors, path, texts)
    return path


def _quantised(weight: Tensor, form: str) -> dict[str, Tensor]:
    up, values, down = torch.linalg.svd(weight, full_matrices=False)
    up, down = up[:, :RANK] * values[:RANK], down[:RANK].T
    groups = (weight - up @ down.T).unflatten(1, (-1, GROUP))
    scales = groups.abs().amax(-1) / 7
    numbers = (groups / scales[..., None]).round().flatten(1).to(torch.int8)
    return {
        "qweight": (numbers[:, ::2] & 15) | (numbers[:, 1::2] << 4),
        "wscales": scales.T.contiguous().to(torch.bfloat16 if form == "int4" else torch.float8_e4m3fn),
        "smooth_factor": torch.ones(weight.shape[1], dtype=torch.bfloat16),
        "smooth_factor_orig": torch.ones(weight.shape[1], dtype=torch.bfloat16),
        "proj_down": down.contiguous().to(torch.bfloat16),
        "proj_up": up.contiguous().to(torch.bfloat16),
    }


def install(folder: Path) -> None:
    """Write the package into a folder that is on ``sys.path``."""
    package = folder / "nunchaku" / "models" / "transformers"
    package.mkdir(parents=True)
    for each in (package, package.parent, package.parent.parent):
        (each / "__init__.py").touch()
    name = NunchakuZImageTransformer2DModel.__name__
    (package / "transformer_zimage.py").write_text(f"from tests.fakes.nunchaku import {name}\n", encoding="utf-8")
