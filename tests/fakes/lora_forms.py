"""LoRAs of every published form for small pipelines, each with the weights that its definition gives.

The references are written from the definitions, entry by entry where that is shorter to check, and share nothing with
the engine: LoRA 2106.09685, DoRA 2402.09353, FedPara 2108.06098, LyCORIS 2309.14859.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Made = tuple[dict[str, Tensor], Tensor]
"""The tensors of one layer by the end of their key, and the layer's weight with the LoRA at weight 1."""

Make = Callable[[Tensor, torch.Generator], Made]


@dataclass(frozen=True)
class Form:
    """A published form.

    Attributes:
        linear: Makes it for a linear layer; None: it has no such form.
        convolution: Makes it for a convolution of 3x3; None: it has no such form.
        metadata: Of the file.
    """

    linear: Make | None
    convolution: Make | None = None
    metadata: Mapping[str, str] | None = None


def _normal(generator: torch.Generator, *shape: int, scale: float = 0.3) -> Tensor:
    return torch.randn(*shape, generator=generator) * scale


def lora(weight: Tensor, generator: torch.Generator, rank: int = 4, alpha: float = 2.0) -> Made:
    down, up = _normal(generator, rank, weight.shape[1]), _normal(generator, weight.shape[0], rank)
    ends = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(alpha)}
    return ends, weight + up @ down * (alpha / rank)


def locon(weight: Tensor, generator: torch.Generator) -> Made:
    out, inside, high, wide = weight.shape
    down, up = _normal(generator, 3, inside, high, wide), _normal(generator, out, 3, 1, 1)
    ends = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(1.0)}
    delta = torch.stack([sum((up[o, r, 0, 0] * down[r] for r in range(3)), torch.zeros(())) for o in range(out)])
    return ends, weight + delta / 3


def locon_tucker(weight: Tensor, generator: torch.Generator) -> Made:
    out, inside, high, wide = weight.shape
    down, mid, up = (
        _normal(generator, 2, inside, 1, 1),
        _normal(generator, 2, 2, high, wide),
        _normal(generator, out, 2, 1, 1),
    )
    delta = torch.zeros_like(weight)
    for a in range(2):
        for b in range(2):
            delta += up[:, a, 0, 0][:, None, None, None] * mid[a, b] * down[b, :, 0, 0][None, :, None, None]
    ends = {"lora_down.weight": down, "lora_mid.weight": mid, "lora_up.weight": up, "alpha": torch.tensor(2.0)}
    return ends, weight + delta


def loha(weight: Tensor, generator: torch.Generator, rank: int = 2, alpha: float = 1.0) -> Made:
    rows, columns = weight.shape[0], weight[0].numel()
    a, b = _normal(generator, rows, rank), _normal(generator, rank, columns)
    c, d = _normal(generator, rows, rank, scale=0.5), _normal(generator, rank, columns, scale=0.5)
    ends = {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d, "alpha": torch.tensor(alpha)}
    return ends, weight + ((a @ b) * (c @ d)).reshape(weight.shape) * (alpha / rank)


def loha_wide(weight: Tensor, generator: torch.Generator) -> Made:
    return loha(weight, generator, rank=8, alpha=4.0)


def loha_tucker(weight: Tensor, generator: torch.Generator) -> Made:
    out, inside, high, wide = weight.shape
    ends: dict[str, Tensor] = {"alpha": torch.tensor(2.0)}
    wholes = []
    for which in (1, 2):
        core, a, b = _normal(generator, 2, 2, high, wide), _normal(generator, 2, out), _normal(generator, 2, inside)
        ends |= {f"hada_t{which}": core, f"hada_w{which}_a": a, f"hada_w{which}_b": b}
        wholes.append(
            sum(
                (
                    a[i][:, None, None, None] * b[j][None, :, None, None] * core[i, j]
                    for i in range(2)
                    for j in range(2)
                ),
                torch.zeros(()),
            )
        )
    return ends, weight + wholes[0] * wholes[1]


def _kron(left: Tensor, right: Tensor) -> Tensor:
    """Return the Kronecker product by its definition: blocks of the right factor, each times an entry of the left."""
    return torch.cat([torch.cat([entry * right for entry in row], 1) for row in left], 0)


def lokr(weight: Tensor, generator: torch.Generator) -> Made:
    out, inside = weight.shape[:2]
    rows = 4 if out % 4 == 0 else 2
    left = _normal(generator, rows, 2)
    right = _normal(generator, out // rows, inside // 2, *weight.shape[2:], scale=0.1)
    # Both factors are whole, so that alpha means nothing; trainers write a huge one.
    return {"lokr_w1": left, "lokr_w2": right, "alpha": torch.tensor(9999999999.0)}, weight + _kron(left, right)


def lokr_factors(weight: Tensor, generator: torch.Generator, rank: int = 2, alpha: float = 1.0) -> Made:
    out, inside = weight.shape[:2]
    left = _normal(generator, 2, 4)
    a = _normal(generator, out // 2, rank)
    b = _normal(generator, rank, inside // 4 * weight[0, 0].numel())
    right = (a @ b).reshape(out // 2, inside // 4, *weight.shape[2:])
    ends = {"lokr_w1": left, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(alpha)}
    return ends, weight + _kron(left, right) * (alpha / rank)


def lokr_both(weight: Tensor, generator: torch.Generator) -> Made:
    out, inside = weight.shape
    a, b = _normal(generator, 2, 2), _normal(generator, 2, 4)
    c, d = _normal(generator, out // 2, 2), _normal(generator, 2, inside // 4)
    ends = {"lokr_w1_a": a, "lokr_w1_b": b, "lokr_w2_a": c, "lokr_w2_b": d, "alpha": torch.tensor(1.0)}
    return ends, weight + _kron(a @ b, c @ d) / 2


def lokr_tucker(weight: Tensor, generator: torch.Generator) -> Made:
    out, inside, high, wide = weight.shape
    left, core = _normal(generator, 2, 2), _normal(generator, 2, 2, high, wide)
    a, b = _normal(generator, 2, out // 2), _normal(generator, 2, inside // 2)
    right = sum(
        (a[i][:, None, None, None] * b[j][None, :, None, None] * core[i, j] for i in range(2) for j in range(2)),
        torch.zeros(()),
    )
    ends = {"lokr_w1": left, "lokr_t2": core, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(2.0)}
    return ends, weight + _kron(left, right)


def full(weight: Tensor, generator: torch.Generator) -> Made:
    diff = _normal(generator, *weight.shape, scale=0.1)
    return {"diff": diff}, weight + diff


def dora(inner: Make, *, by_input: bool) -> Make:
    """Return a form with DoRA: V = W + delta, and each column (or row) of V is brought to a learned norm."""

    def make(weight: Tensor, generator: torch.Generator) -> Made:
        ends, moved = inner(weight, generator)
        flat = moved.transpose(0, 1).flatten(1) if by_input else moved.flatten(1)
        norms = torch.stack([row.square().sum().sqrt() for row in flat])
        wanted = norms * (0.6 + 0.8 * torch.rand(len(norms), generator=generator))
        side = (1, -1) if by_input else (-1, 1)
        magnitude = wanted.reshape(*side, *(1 for _ in weight.shape[2:]))
        factor = (wanted / norms).reshape(*side, *(1 for _ in weight.shape[2:]))
        return ends | {"dora_scale": magnitude}, moved * factor

    return make


def peft(weight: Tensor, generator: torch.Generator) -> Made:
    ends, moved = lora(weight, generator, alpha=4.0)
    return {"lora_A.weight": ends["lora_down.weight"], "lora_B.weight": ends["lora_up.weight"]}, moved


def peft_stabilised(weight: Tensor, generator: torch.Generator) -> Made:
    """Alpha 8 by the square root of the rank, 4, as the metadata of ``FORMS`` says."""
    ends, moved = lora(weight, generator, alpha=4.0)
    return peft_names(ends), weight + (moved - weight) * 4


def peft_dora(weight: Tensor, generator: torch.Generator) -> Made:
    ends, moved = dora(peft, by_input=False)(weight, generator)
    ends["lora_magnitude_vector"] = ends.pop("dora_scale").flatten()
    return ends, moved


def peft_names(ends: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"lora_A.weight": ends["lora_down.weight"], "lora_B.weight": ends["lora_up.weight"]}


_RANK_STABILISED = {
    "lora_adapter_metadata": '{"unet.lora_alpha": 8, "unet.r": 4, "unet.use_rslora": true, '
    '"transformer.lora_alpha": 8, "transformer.r": 4, "transformer.use_rslora": true}'
}

FORMS: Mapping[str, Form] = {
    "lora": Form(lora, locon),
    "locon tucker": Form(lora, locon_tucker),
    "peft": Form(peft),
    "rank-stabilised": Form(peft_stabilised, metadata=_RANK_STABILISED),
    "loha": Form(loha, loha),
    "loha of a high rank": Form(loha_wide, loha_wide),
    "loha tucker": Form(loha, loha_tucker),
    "lokr": Form(lokr, lokr),
    "lokr with a factored right": Form(lokr_factors, lokr_factors),
    "lokr with both factored": Form(lokr_both),
    "lokr tucker": Form(lokr, lokr_tucker),
    "full": Form(full, full),
    "dora by output": Form(dora(lora, by_input=False), dora(locon, by_input=False)),
    "dora by input": Form(dora(lora, by_input=True), dora(locon, by_input=True)),
    "dora of peft": Form(peft_dora),
    "dora of loha": Form(dora(loha, by_input=True), dora(loha, by_input=False)),
    "dora of lokr": Form(dora(lokr_factors, by_input=False), dora(lokr, by_input=True)),
}
"""Every form, by a name for it."""

_LINEAR = ("attn1.to_q", "attn2.to_v", "attention.to_k", "attention.to_out.0", "feed_forward.w1", "self_attn.v_proj")
_CONVOLUTION = ("resnets.0.conv1", "downsamplers.0.conv")


def layers(model: nn.Module, form: Form) -> Iterator[tuple[str, Any, Make]]:
    """Yield the layers of a part that a form is made for: some linear layers, and some convolutions."""
    for name, module in model.named_modules():
        if form.linear is not None and isinstance(module, nn.Linear) and name.endswith(_LINEAR):
            yield name, module, form.linear
        elif form.convolution is not None and isinstance(module, nn.Conv2d) and name.endswith(_CONVOLUTION):
            yield name, module, form.convolution


@torch.no_grad()
def build(pipe: Any, form: Form, *, seed: int = 1, text: bool = False) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of a LoRA for a pipeline, and the weight of each layer that it changes, at weight 1.

    The weights are named ``<part>.<layer>.weight``.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    wanted: dict[str, Tensor] = {}
    unet = hasattr(pipe, "unet")
    parts = {"unet" if unet else "transformer": "lora_unet_" if unet else "diffusion_model."}
    if text:
        parts["text_encoder"] = "lora_te_text_model_"
    for part, prefix in parts.items():
        for name, module, make in layers(getattr(pipe, part), form):
            ends, weight = make(module.weight, generator)
            bare = name.removeprefix("text_model.")
            key = f"{prefix}{bare if prefix.endswith('.') else bare.replace('.', '_')}"
            tensors |= {f"{key}.{end}": tensor.contiguous() for end, tensor in ends.items()}
            wanted[f"{part}.{name}.weight"] = weight
    return tensors, wanted


@torch.no_grad()
def merged(pipe: Any, wanted: Mapping[str, Tensor], weight: float = 1.0) -> Any:
    """Move the weights of a pipeline towards those of ``build``, W + weight * (W' - W), and return it."""
    for key, one in wanted.items():
        part, _, name = key.partition(".")
        own = getattr(pipe, part).get_parameter(name)
        own += weight * (one - own)
    return pipe
