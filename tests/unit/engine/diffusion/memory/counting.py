"""Follows every tensor's life, on the meta device too: how many bytes a model has alive at most while it runs."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, Flux2Transformer2DModel, UNet2DConditionModel, ZImageTransformer2DModel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def transformers_model(kind: type[Any], config: type[Any], values: Mapping[str, Any]) -> Any:
    """Return a text encoder without numbers."""
    with torch.device("meta"):
        return kind(config(**values)).eval()


class Peak(TorchDispatchMode):  # type: ignore[no-untyped-call] # PyTorch's own class
    """Counts bytes that come to life inside its ``with``; a module's weights do not count."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self._live = 0
        self._known = {t.untyped_storage()._cdata for t in (*module.parameters(), *module.buffers())}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self._known:
                    self._known.add(key)
                    self._live += size
                    self.bytes = max(self.bytes, self._live)
                    weakref.finalize(storage, self._gone, key, size)
        return out

    def _gone(self, key: int, size: int) -> None:
        self._live -= size
        self._known.discard(key)


@contextmanager
def flat_attention(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Attention as cards do it: never all pairs at once. The meta device would keep them."""

    def attend(query: torch.Tensor, key: object = None, value: object = None, *_: object, **__: object) -> torch.Tensor:
        return torch.empty_like(query)

    with monkeypatch.context() as m:
        m.setattr(torch.nn.functional, "scaled_dot_product_attention", attend)
        yield


def made(kind: type[Any], config: Mapping[str, Any], dtype: torch.dtype, device: str = "meta") -> Any:
    """Return a model of a class; on the meta device it has no numbers, only shapes."""
    with torch.device(device):
        return kind(**config).eval().to(dtype)


def peak(module: torch.nn.Module, call: Callable[[], object]) -> int:
    """Return the most bytes that were alive during the call, but for the module's weights."""
    counter = Peak(module)
    with torch.no_grad(), counter:
        call()
    return counter.bytes


def step(model: Any, width: int, height: int, batch: int, device: str = "meta") -> int:
    """Return the bytes alive in one pass of a denoiser."""
    dtype = next(model.parameters()).dtype
    with torch.device(device):
        times = torch.zeros(batch)
        if isinstance(model, ZImageTransformer2DModel):
            latents = [torch.zeros(16, 1, height // 8, width // 8, dtype=dtype) for _ in range(batch)]
            words = [torch.zeros(512, model.config.cap_feat_dim, dtype=dtype) for _ in range(batch)]
            return peak(model, lambda: model(latents, times, words, return_dict=False))
        if isinstance(model, Flux2Transformer2DModel):
            positions = width * height // 256
            packed = torch.zeros(batch, positions, model.config.in_channels, dtype=dtype)
            prompt = torch.zeros(batch, 512, model.config.joint_attention_dim, dtype=dtype)
            ids = torch.zeros(batch, positions, 4), torch.zeros(batch, 512, 4)
            return peak(model, lambda: model(packed, prompt, times, *ids, return_dict=False))
        assert isinstance(model, UNet2DConditionModel)
        flat = torch.zeros(batch, 4, height // 8, width // 8, dtype=dtype)
        text = torch.zeros(batch, 77, model.config.cross_attention_dim, dtype=dtype)
        more: dict[str, Any] = {}
        if model.config.addition_embed_type:
            pooled = model.config.projection_class_embeddings_input_dim - 6 * model.config.addition_time_embed_dim
            more["added_cond_kwargs"] = {
                "text_embeds": torch.zeros(batch, pooled, dtype=dtype),
                "time_ids": torch.zeros(batch, 6),
            }
        return peak(model, lambda: model(flat, times, text, return_dict=False, **more))


def decode(vae: AutoencoderKL, width: int, height: int, device: str = "meta") -> int:
    """Return the bytes alive while the VAE decodes one picture."""
    latents = torch.zeros(
        1, vae.config.latent_channels, height // 8, width // 8, dtype=next(vae.parameters()).dtype, device=device
    )
    return peak(vae, lambda: vae.decode(latents, return_dict=False))


def encode(vae: AutoencoderKL, width: int, height: int, device: str = "meta") -> int:
    """Return the bytes alive while the VAE encodes one picture."""
    pixels = torch.zeros(1, 3, height, width, dtype=next(vae.parameters()).dtype, device=device)
    return peak(vae, lambda: vae.encode(pixels, return_dict=False))


def linear_share(model: torch.nn.Module) -> float:
    """Return the share of a model's parameters that are weights of linear layers."""
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    return linear / sum(p.numel() for p in model.parameters())


def largest_leaf(model: torch.nn.Module) -> int:
    """Return the parameters of the largest layer."""
    return max(sum(p.numel() for p in m.parameters(recurse=False)) for m in model.modules())


def nbytes(module: torch.nn.Module) -> int:
    """Return the bytes of a module's weights and buffers, quantised or not."""
    return sum(_nbytes(t) for t in (*module.parameters(), *module.buffers()))


def _nbytes(tensor: torch.Tensor) -> int:
    flatten: Any = getattr(tensor, "__tensor_flatten__", None)
    return tensor.nbytes if flatten is None else sum(_nbytes(getattr(tensor, name)) for name in flatten()[0])
