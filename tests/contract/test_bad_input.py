"""What can't be drawn is refused in one sentence of each language, and the model that is loaded goes on drawing."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from PIL import Image

from adapters.cli.environment import AppSettings
from adapters.cli.output import refusal_of
from adapters.cli.wiring import Easel, opened
from bot.cards import i18n
from bot.core.errors import Refusal
from bot.core.messages import EventRef
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from bot.settings import Settings
from engine import catalogue, control_catalogue
from engine.contract import EngineConfig, Phase, UnknownModel
from engine.families.z_image.spec import demo
from engine.host.process_engine import ProcessEngine
from tests.fakes import controlnets, models, pipelines
from tests.fakes.small_pipelines import SMALL_PIPELINES
from tests.fakes.source_images import RED, picture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PAGE = Place("web", None, "page")
PERSON = Actor("web", "person", is_owner=True)
ONE = picture(64, 64, RED)
GOOD = DrawForm("a red cat", seed="5", steps="2", size="64x64")

TABLES = f"""
[small]
source = "small"

[klein]
source = "klein"

[flow]
source = {json.dumps(demo().source)}

[coded]
source = "coded"

[strange]
source = "strange"

[control.edges]
kind = "canny"
source = "canny"

[control.wrong]
kind = "depth"
source = "canny"
family = "z_image"
"""


@dataclass(frozen=True, slots=True)
class Bad:
    """A request that is refused.

    Attributes:
        form: The request.
        key: The refusal's key in the catalogues.
        names: What the sentence says in both languages: what is wrong, or what can be chosen instead.
    """

    form: DrawForm
    key: str
    names: tuple[str, ...]


BAD = {
    "a pipeline that needs remote code": Bad(
        DrawForm("a cat", model="coded"), "refusal.model.unknown", ("coded", "small, klein, flow")
    ),
    "a pipeline of an unknown class": Bad(
        DrawForm("a cat", model="strange"), "refusal.model.unknown", ("strange", "small, klein, flow")
    ),
    "references for a model that takes none": Bad(
        DrawForm("make it night", model="small", references=(ONE,)), "refusal.references.model", ("small", "klein")
    ),
    "references for a default model that takes none": Bad(
        DrawForm("make it night", references=(ONE,)), "refusal.references.model", ("small", "klein")
    ),
    "too many references": Bad(
        DrawForm("make it night", model="klein", references=(ONE,) * 5), "refusal.references.limit", ("4", "5")
    ),
    "a LoRA of another family": Bad(
        DrawForm("a cat --lora flowing"), "refusal.lora.family", ("flowing", "small", "flow")
    ),
    "a LoRA of another family, as A1111 writes it": Bad(
        DrawForm("a cat <lora:flowing:0.8>"), "refusal.lora.family", ("flowing", "small", "flow")
    ),
    "an unknown LoRA": Bad(DrawForm("a cat --lora inkk:0.8"), "refusal.lora.unknown", ("inkk", "ink")),
    "a weight above 2": Bad(DrawForm("a cat --lora ink:2.1"), "refusal.lora.range", ("2.1", "ink", "-2", "2")),
    "a weight below -2": Bad(DrawForm("a cat <lora:ink:-3>"), "refusal.lora.range", ("-3", "ink", "-2", "2")),
    "a weight that is none": Bad(DrawForm("a cat --lora ink:strong"), "refusal.lora.not_number", ("strong", "ink")),
    "a sampler that only other models can use": Bad(
        DrawForm("a cat --sampler DDIM", model="flow"), "refusal.sampler.none_near", ("DDIM", "Heun")
    ),
    "a sampler that is misspelt": Bad(
        DrawForm('a cat --sampler "DPM++ 2N Karras"'), "refusal.sampler.unknown", ("DPM++ 2N Karras", "DPM++ 2M Karras")
    ),
    "a sampler for a model that has its own alone": Bad(
        DrawForm("a cat --sampler UniPC", model="klein"), "refusal.sampler.fixed", ("klein",)
    ),
    "a ControlNet of another family": Bad(
        DrawForm("a cat --control canny", model="flow", image=ONE), "refusal.control.other_model", ("flow", "small")
    ),
    "a kind of ControlNet that there is not": Bad(
        DrawForm("a cat --control depth", image=ONE), "refusal.control.unknown", ("depth", "canny")
    ),
}

LEFT_OUT = {
    "[coded], source": "Easel runs no code that comes with a model",
    "[strange], source": "'NoSuchPipeline', a class that diffusers",
    "[control.wrong], family": "made for Stable Diffusion 1.5, not for Z-Image",
}
"""Tables that no model or ControlNet is made of, and a part of their sentence."""

UNBALANCED = ("a (red cat", "a red) cat", "a [red cat", "((a red cat:1.2)", "a red cat:1.3)", "]]a red cat((")
"""Prompts with brackets without partners, which are text."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with good and bad models, LoRAs and ControlNets."""
    root = tmp_path_factory.mktemp("data")
    models.small_sd15(root / "small")
    SMALL_PIPELINES["Flux2KleinPipeline"].build(root / "klein", 0)
    models.coded(root / "coded", root / "trap")
    index = SMALL_PIPELINES["FluxPipeline"].build(root / "strange", 0) / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": "NoSuchPipeline"}))
    controlnets.controlnet(pipelines.load(root / "small"), root / "canny")
    (root / "loras").mkdir()
    models.write_lora(root / "loras" / "ink.safetensors", folder=root / "small")
    models.write_lora(root / "loras" / "flowing.safetensors")
    (root / "models.toml").write_text(TABLES, encoding="utf-8")
    return root


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Easel, ProcessEngine]]:
    """Run the whole service, with an engine in its own process."""
    engines: list[ProcessEngine] = []

    def make(config: EngineConfig) -> ProcessEngine:
        engines.append(ProcessEngine(config))
        return engines[0]

    settings = Settings(_env_file=None, data_dir=folder, model="small", lora_dir=folder / "loras")
    async with opened(AppSettings(settings), make) as easel, asyncio.timeout(250):
        await engines[0].warm()
        yield easel, engines[0]


_events = itertools.count()


async def drawn(easel: Easel, form: DrawForm) -> bytes:
    """Return the file of a request's picture. Raises Refusal."""
    shown = await easel.studio.draw(PERSON, PAGE, form, EventRef(f"{next(_events)}"))
    async for card in easel.studio.watch(PERSON, shown.job_id):
        if card.final:
            assert card.pictures, card.status
            return card.pictures[0].path.read_bytes()
    raise AssertionError("the card was never final")


def pixels(file: bytes) -> bytes:
    """Return a picture without what its file says of it, such as when it was drawn."""
    with Image.open(io.BytesIO(file)) as image:
        return image.tobytes()


def is_one_sentence(text: str) -> bool:
    """Whether a text is one short paragraph with its end, and no part of an exception."""
    return text[-1] in ".。?？" and "\n" not in text and "Traceback" not in text and not re.search(r"\{\w+\}", text)


async def test_each_is_refused_in_both_languages_and_the_model_goes_on(folder: Path) -> None:
    wrong = {}
    async with running(folder) as (easel, engine):
        assert [profile.name for profile in engine.profiles()] == ["small", "klein", "flow"]
        before = await drawn(easel, GOOD)
        for what, bad in BAD.items():
            try:
                await easel.studio.draw(PERSON, PAGE, bad.form, EventRef(f"{next(_events)}"))
            except Refusal as refusal:
                said = {locale: i18n.text(locale, refusal.key, **refusal.params) for locale in i18n.LOCALES}
                good = all(is_one_sentence(s) and all(name in s for name in bad.names) for s in said.values())
                if refusal.key != bad.key or not good or said["en"] == said["zh_CN"]:
                    wrong[what] = (refusal.key, said)
            else:
                wrong[what] = ("was admitted", {})
        for prompt in UNBALANCED:
            assert await drawn(easel, replace(GOOD, prompt=prompt, steps="1"))
        after = await drawn(easel, GOOD)
        state = engine.state()
    assert wrong == {}
    assert pixels(before) == pixels(after)
    assert (state.phase, state.model, state.restarts, state.switch_seconds) == (Phase.WARM, "small", 0, 0.0)
    assert not (folder / "trap").exists(), "no code of a model was run"


def test_tables_that_make_nothing_have_a_sentence_each(folder: Path) -> None:
    file = str(folder / "models.toml")
    found = catalogue.read_catalogue("small", "", file)
    problems = (*found.problems, *control_catalogue.read_controls(file).problems)
    for table, part in LEFT_OUT.items():
        sentences = {problem for problem in problems if table in problem}
        assert len(sentences) == 1, table
        assert part in sentences.pop()
    for locale in i18n.LOCALES:
        refusals = [refusal_of(UnknownModel(problem)) for problem in problems]
        assert all(is_one_sentence(i18n.text(locale, refusal.key, **refusal.params)) for refusal in refusals)
