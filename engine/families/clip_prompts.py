"""Prompts for CLIP text encoders: weighted as in A1111, and chunks of 75 tokens instead of a cut.

A1111's definition is followed (``modules/sd_hijack_clip.py`` and ``modules/sd_emphasis.py``), because people bring their
prompts from there. compel, the usual library, has another syntax and moves embeddings from or towards those of an empty
prompt instead; sd_embed is not on PyPI. The default emphasis ``Original`` is used for all models: the encoder's output
is multiplied token by token, and the mean that each chunk had is restored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.families.emphasis import is_plain, parse
from engine.families.unet_spec import CLIP_CHUNKS

_COMMA = ",</w>"

_BACKTRACK = 20
"""A chunk that is full ends behind its last comma, if that is among its last 20 tokens (A1111's default)."""

_ROUNDING = 1e-5
"""Share of the root mean square below which a mean of some 60,000 numbers in bf16 is rounding."""


@dataclass(frozen=True, slots=True)
class ClipPrompt:
    """A prompt as a CLIP text encoder reads it.

    Attributes:
        ids: (chunks, 77) token ids, each chunk with its beginning, end and padding.
        weights: (chunks, 77), float32; None where all of them are 1.
        cut: The prompt was longer than ``CLIP_CHUNKS`` chunks, and its end was left out.
        extended: It uses the syntax, or has more than one chunk.
    """

    ids: Tensor
    weights: Tensor | None
    cut: bool
    extended: bool


def tokenise(prompt: str, tokenizer: Any) -> ClipPrompt:
    """Return a prompt's tokens. A plain prompt of at most 75 tokens has the ids that the tokenizer gives for all of it."""
    room = int(tokenizer.model_max_length) - 2
    chunks: list[list[tuple[int, float]]] = []
    for section in parse(prompt):
        texts = [fragment.text for fragment in section]
        ids = tokenizer(texts, add_special_tokens=False).input_ids if texts else []
        tokens = [(i, fragment.weight) for fragment, found in zip(section, ids, strict=True) for i in found]
        chunks += _chunks(tokens, room, int(tokenizer.convert_tokens_to_ids(_COMMA)))
    if len(chunks) > 1 and not chunks[-1]:  # nothing stands behind the last BREAK
        chunks.pop()
    kept = chunks[:CLIP_CHUNKS]
    begin, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    ids = [[begin, *(i for i, _ in c), end, *[pad] * (room - len(c))] for c in kept]
    weights = torch.tensor([[1.0, *(w for _, w in c), *[1.0] * (room - len(c) + 1)] for c in kept])
    weighted = bool((weights != 1).any())
    extended = len(chunks) > 1 or not is_plain(prompt)
    return ClipPrompt(torch.tensor(ids), weights if weighted else None, len(chunks) > len(kept), extended)


def _chunks(tokens: Sequence[tuple[int, float]], room: int, comma: int) -> list[list[tuple[int, float]]]:
    """Split a section's tokens into chunks of at most ``room`` tokens; an empty section is an empty chunk."""
    chunks: list[list[tuple[int, float]]] = [[]]
    commas = 0  # tokens of the chunk up to its last comma
    for token in tokens:
        if len(chunks[-1]) == room:
            # As in A1111, a comma stays in no full chunk either: it begins the next one.
            split = commas if token[0] != comma and commas and room - commas < _BACKTRACK else room
            chunks.append(chunks[-1][split:])
            del chunks[-2][split:]
            commas = 0
        chunks[-1].append(token)
        if token[0] == comma:
            commas = len(chunks[-1])
    return chunks


def hidden_state(found: Any, clip_skip: int) -> Tensor:
    """Return a text encoder's hidden states, (chunks, 77, channels), without its last layers.

    Args:
        found: The encoder's output, with hidden states.
        clip_skip: 1: those of the last layer, 2: those of the one before it, and so on to those of the first layer.
    """
    states: tuple[Tensor, ...] = found.hidden_states
    return states[-min(clip_skip, len(states) - 1)]


def weigh(states: Tensor, weights: Tensor | None) -> Tensor:
    """Return a text encoder's output with its tokens weighted, (chunks * 77, channels).

    Args:
        states: (chunks, 77, channels).
        weights: (chunks, 77); None where all of them are 1: the output then stays as it is, to the last bit.
    """
    if weights is None:
        return states.flatten(0, 1)
    before = states.float()
    after = before * weights.to(states.device)[..., None]
    ratio = _mean(before) / _mean(after)
    return (after * torch.where(ratio.isfinite(), ratio, 1.0)).to(states.dtype).flatten(0, 1)


def _mean(states: Tensor) -> Tensor:
    """Return the mean of each chunk, (chunks, 1, 1); NaN where it is rounding alone and can't be restored."""
    mean = states.mean((1, 2), keepdim=True)
    return torch.where(mean.abs() > _ROUNDING * states.square().mean((1, 2), keepdim=True).sqrt(), mean, torch.nan)


def same_length(states: Sequence[Tensor]) -> Tensor:
    """Return embeddings of several prompts as one batch, (n, tokens, channels).

    Shorter ones are repeated to the least common multiple of the lengths. Attention over repeated keys and values gives
    what it gives over them once, so a picture does not depend on the prompts that share its step.

    Args:
        states: n embeddings, each (tokens, channels).
    """
    tokens = math.lcm(*(len(s) for s in states))
    return torch.stack([s if len(s) == tokens else s.repeat(tokens // len(s), 1) for s in states])
