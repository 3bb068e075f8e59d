"""Prompts of the CLIP families against a second implementation of A1111's definition, and against plain pipelines."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.contract import Recipe
from engine.diffusion.assemble import assemble
from engine.diffusion.files import Files
from engine.diffusion.memory.stream import stream
from engine.families.batched import BatchedFamily
from engine.families.clip_prompts import tokenise, weigh
from engine.families.denoise_state import Embedding
from engine.families.registry import model_class
from engine.families.sdxl.spec import CLIP_SKIP
from engine.folders import profile_of
from tests.fakes import models

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
ROOM = 75
CLIP = ("sd15", "sdxl")
RED_BALL = "(red:1.4) ball"

Picture = NDArray[np.float32]


@pytest.fixture(scope="module", params=CLIP)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def family(name: str, tmp_path_factory: pytest.TempPathFactory) -> BatchedFamily:
    folder = models.SMALL[name](tmp_path_factory.mktemp("models") / name)
    made: BatchedFamily = model_class(name)(assemble(Files(name, folder), profile_of(folder), torch.float32), CPU)
    if name == "sd15":
        # As in a trained encoder, the output's mean is not zero.
        torch.nn.init.normal_(made.pipe.text_encoder.final_layer_norm.bias, 0.05, 0.1)
    return made


def attention(prompt: str) -> list[tuple[str, float]]:
    """Return A1111's ``parse_prompt_attention`` of a prompt whose brackets have partners."""
    found: list[list[Any]] = []
    starts: dict[str, list[int]] = {"(": [], "[": []}
    for token in re.finditer(r"\\[\\()\[\]]|[(\[]|:\s*([+-]?[.\d]+)\s*\)|[)\]]|[^\\()\[\]:]+|:", prompt):
        text, weight = token[0], token[1]
        if text.startswith("\\"):
            found.append([text[1:], 1.0])
        elif text in "([":
            starts[text].append(len(found))
        elif weight or text in ")]":
            factor = float(weight) if weight else 1.1 if text == ")" else 1 / 1.1
            for piece in found[starts["[" if text == "]" else "("].pop() :]:
                piece[1] *= factor
        else:
            for index, part in enumerate(re.split(r"\s*\bBREAK\b\s*", text)):
                found += [["BREAK", -1.0]] if index else []
                found.append([part, 1.0])
    return [(text, weight) for text, weight in found]


def reference(prompt: str, tokenizer: Any, encoder: Any, layer: Callable[[Any], Tensor]) -> tuple[Tensor, Tensor]:
    """Return A1111's embedding of a prompt, (1, tokens, channels), and the first chunk's pooled output."""
    chunks: list[tuple[list[int], list[float]]] = []
    ids: list[int] = []
    weights: list[float] = []

    def end_chunk() -> None:
        nonlocal ids, weights
        pad = ROOM - len(ids)
        chunks.append(
            (
                [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id, *[tokenizer.pad_token_id] * pad],
                [1.0, *weights, 1.0, *[1.0] * pad],
            )
        )
        ids, weights = [], []

    comma, last = tokenizer.get_vocab()[",</w>"], -1
    for text, weight in attention(prompt):
        if (text, weight) == ("BREAK", -1.0):
            end_chunk()
            last = -1
            continue
        for token in tokenizer.encode(text, add_special_tokens=False):
            if token == comma:
                last = len(ids)
            elif len(ids) == ROOM and last != -1 and ROOM - last <= 20:
                moved, moved_weights = ids[last + 1 :], weights[last + 1 :]
                del ids[last + 1 :], weights[last + 1 :]
                end_chunk()
                ids, weights, last = moved, moved_weights, -1
            if len(ids) == ROOM:
                end_chunk()
                last = -1
            ids.append(token)
            weights.append(weight)
    if ids or not chunks:
        end_chunk()
    states, pooled = [], None
    with torch.no_grad():
        for of_chunk, of_tokens in chunks:
            output = encoder(torch.tensor([of_chunk]), output_hidden_states=True)
            z = layer(output)
            weighted = z * torch.tensor(of_tokens).reshape(1, -1, 1).expand(z.shape)
            states.append(weighted * (z.mean() / weighted.mean()))
            pooled = output[0][0] if pooled is None else pooled
    assert pooled is not None
    return torch.hstack(states), pooled


def references(family: BatchedFamily, prompt: str) -> Mapping[str, Tensor]:
    """Return A1111's embedding of a prompt as the pipeline's arguments."""
    pipe = family.pipe
    if not hasattr(pipe, "text_encoder_2"):
        states, _ = reference(prompt, pipe.tokenizer, pipe.text_encoder, lambda output: output[0])
        return {"prompt_embeds": states}
    first, _ = reference(prompt, pipe.tokenizer, pipe.text_encoder, lambda output: output.hidden_states[-2])
    second, pooled = reference(prompt, pipe.tokenizer_2, pipe.text_encoder_2, lambda output: output.hidden_states[-2])
    return {"prompt_embeds": torch.cat([first, second], -1), "pooled_prompt_embeds": pooled[None]}


def embedded(family: BatchedFamily, embedding: Embedding) -> Mapping[str, Tensor]:
    states, *pooled = embedding.tensors
    return {"prompt_embeds": states[None], **({"pooled_prompt_embeds": p[None]} if (p := next(iter(pooled), None)) is not None else {})}  # fmt: skip


def recipe(prompt: str, **more: Any) -> Recipe:
    values: dict[str, Any] = {"negative": "", "steps": 4, "guidance": 3.0, "seed": 5} | more
    return Recipe(id="a", model="small", prompt=prompt, width=64, height=48, **values)


def drawn(family: BatchedFamily, *recipes: Recipe) -> list[Picture]:
    negatives = [family.encode(r.negative) if family.guided(r.guidance) else None for r in recipes]
    states = [family.begin(r, family.encode(r.prompt), n) for r, n in zip(recipes, negatives, strict=True)]
    while left := [s for s in states if not s.finished]:
        family.step(left)
    return [family.finish(s).clip(0, 1).numpy() for s in states]


def bare(family: BatchedFamily, of: Recipe, **prompt: Any) -> Picture:
    found: Picture = family.pipe(
        num_inference_steps=of.steps,
        guidance_scale=of.guidance,
        width=of.width,
        height=of.height,
        generator=torch.Generator().manual_seed(of.seed),
        output_type="np",
        **prompt,
    ).images[0]
    return found


def far(a: Picture, b: Picture) -> float:
    return float(np.linalg.norm(a - b))


LONG = ", ".join(f"red cat number {n}" for n in range(9))
PROMPTS = (
    RED_BALL,
    "((the cat)), [red], (ball:0.3)",
    "(a [cat:2] (red:1.5) ball:0.7)",
    r"the \(red\) cat",
    "the cat BREAK (red:1.3) ball",
    "BREAK the cat",
    "the cat BREAK BREAK ball BREAK",
    LONG,
    f"({LONG}:1.2), the end",
    "red " * 75,
    "red " * 76,
    "red, " * 40,
    "red " * 75 + ", cat",
    "x " * 60 + ", " + "red " * 30,
    "",
)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_embeddings_are_a1111s(family: BatchedFamily, prompt: str) -> None:
    found, wanted = embedded(family, family.encode(prompt)), references(family, prompt)
    assert found.keys() == wanted.keys()
    for key in wanted:
        torch.testing.assert_close(found[key], wanted[key], atol=1e-4, rtol=1e-4)


def test_a_weight_draws_as_in_a1111_and_not_as_plain_text(family: BatchedFamily) -> None:
    of = recipe(RED_BALL, guidance=0.0)
    (found,) = drawn(family, of)
    wanted = bare(family, of, **references(family, RED_BALL))
    plain = bare(family, of, prompt="red ball")
    literal = bare(family, of, prompt=RED_BALL)
    assert far(found, wanted) < 0.01 * far(found, plain)
    assert far(found, wanted) < 0.01 * far(found, literal)


def test_the_tail_of_a_long_prompt_changes_the_picture(family: BatchedFamily) -> None:
    long = "red " * 160
    plain, other = drawn(family, recipe(long + "cat " * 40), recipe(long + "the " * 40))
    assert not family.encode(long + "cat " * 40).cut
    assert np.abs(plain - other).max() > 2 / 255


@pytest.mark.parametrize("prompt", ["a red cat", "the cat, a ball: red", "", "红猫 🦊", "red " * 75])
def test_plain_prompts_are_read_as_before_to_the_last_bit(family: BatchedFamily, name: str, prompt: str) -> None:
    pipe, found = family.pipe, family.encode(prompt)
    assert not found.extended
    how = {"device": CPU, "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
    with torch.no_grad():
        wanted = pipe.encode_prompt(prompt, **how)
    assert torch.equal(found.tensors[0], wanted[0][0])
    if name == "sdxl":
        assert torch.equal(found.tensors[1], wanted[2][0])


@pytest.mark.parametrize(
    ("prompt", "cut"), [("red " * 300, False), ("red " * 301, True), ("a BREAK " * 3 + "a", False), ("a BREAK " * 4 + "a", True)]
)  # fmt: skip
def test_more_than_four_chunks_are_cut(family: BatchedFamily, prompt: str, cut: bool) -> None:
    found = family.encode(prompt)
    assert found.cut is cut
    assert found.extended
    assert len(found.tensors[0]) == 4 * 77


def test_prompts_of_any_length_share_a_step(family: BatchedFamily) -> None:
    recipes = [
        recipe("a red cat"),
        recipe("red " * 100, seed=6),
        recipe("the cat BREAK (red:1.3) BREAK ball", seed=7, negative="red " * 200),
        recipe(RED_BALL, seed=8, negative="the (cat:1.2)"),
    ]
    alone = [drawn(family, r)[0] for r in recipes]
    shared = drawn(family, *recipes)
    assert [np.abs(a - b).max() <= 1 / 255 for a, b in zip(alone, shared, strict=True)] == [True] * 4


@pytest.mark.parametrize("clip_skip", [1, 2])
def test_clip_skip_leaves_the_last_layers_out(family: BatchedFamily, name: str, clip_skip: int) -> None:
    found = family.encode(RED_BALL, clip_skip).tensors[0]
    assert torch.equal(found, family.encode(RED_BALL).tensors[0]) is (clip_skip == (CLIP_SKIP if name == "sdxl" else 1))

    def shorter(encoder: Any) -> Any:
        made = copy.deepcopy(encoder)
        body = made if name == "sd15" or not hasattr(made, "text_model") else made.text_model
        body.encoder.layers = body.encoder.layers[: len(body.encoder.layers) - clip_skip + 1]
        return made

    pipe = family.pipe
    if name == "sd15":  # the layers that are left, then the final norm
        wanted, _ = reference(RED_BALL, pipe.tokenizer, shorter(pipe.text_encoder), lambda output: output[0])
    else:  # without the norm
        both = ((pipe.tokenizer, pipe.text_encoder), (pipe.tokenizer_2, pipe.text_encoder_2))
        parts = [reference(RED_BALL, t, shorter(e), lambda output: output.hidden_states[-1])[0] for t, e in both]
        wanted = torch.cat(parts, -1)
    torch.testing.assert_close(found, wanted[0], atol=1e-4, rtol=1e-4)


def test_a_clip_skip_beyond_the_first_layer_stops_there(family: BatchedFamily) -> None:
    assert torch.equal(family.encode("a cat", 12).tensors[0], family.encode("a cat", 2).tensors[0])


def test_the_negative_prompt_has_weights_too(family: BatchedFamily) -> None:
    first, second = drawn(family, recipe("a cat", negative="(red:1.5) ball"), recipe("a cat", negative="red ball"))
    assert np.abs(first - second).max() > 2 / 255


def test_a_weight_of_zero_and_an_endless_one_are_finite(family: BatchedFamily) -> None:
    for prompt in ("(a red cat:0)", "(red:99999999999999999999) cat", "(a cat:-1)"):
        assert family.encode(prompt).tensors[0].isfinite().all()


def test_a_mean_of_zero_is_not_restored() -> None:
    states = torch.randn(2, 77, 64, generator=torch.Generator().manual_seed(0))
    states[0] -= states[0].mean()
    weights = torch.ones(2, 77)
    weights[:, 1:5] = 1.4
    found = weigh(states, weights).view(2, 77, 64)
    torch.testing.assert_close(found[0], states[0] * weights[0][:, None])
    assert float(found[1].mean()) == pytest.approx(float(states[1].mean()), rel=1e-3)


def test_clip_skip_works_where_the_text_encoder_is_streamed(tmp_path: Path) -> None:
    folder = models.small_sd15(tmp_path / "m")
    made = model_class("sd15")(assemble(Files("sd15", folder), profile_of(folder), torch.float32), CPU)
    wanted = made.encode(RED_BALL, 2).tensors[0]
    stream(made.pipe.text_encoder, CPU)
    assert torch.equal(made.encode(RED_BALL, 2).tensors[0], wanted)


def test_a_chunk_ends_behind_a_comma_near_its_end(family: BatchedFamily) -> None:
    read = tokenise("x " * 60 + ", " + "red " * 30, family.pipe.tokenizer)
    assert read.ids.shape == (2, 77)
    assert int((read.ids[0] == family.pipe.tokenizer.get_vocab()["red</w>"]).sum()) == 0
