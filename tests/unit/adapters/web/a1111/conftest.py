"""A page over a running bot with models of several kinds, and a1111's clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.contract import Capability, LoraInfo, NegativePromptSupport, Range
from engine.families.sdxl.spec import sdxl
from engine.families.z_image.spec import demo
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness, settings_of

SDXL = replace(sdxl(), side=Range(64, 64, 512), controls=("canny", "depth"))
"""SDXL with sides as small as tests draw them."""

FIXED = replace(demo(), name="fixed", title="Fixed", samplers=(), guidance=Range(0.0, 0.0, 0.0), clip_skip=0)
EDITOR = replace(
    demo(),
    name="editor",
    title="Editor",
    can=frozenset({Capability.EDIT}),
    references=2,
    needs_reference=True,
    negative=NegativePromptSupport.NEVER,
)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[WebHarness]:
    """A bot that draws at once."""
    gate = StepGate()
    gate.open()
    loras = (LoraInfo("ink", "Ink Wash", ("ink wash",), demo().family, weight=0.8),)
    engine = FakeEngine([demo(), SDXL, FIXED, EDITOR], pause=gate, loras=loras)
    async with WebHarness(tmp_path, engine, gate, settings_of()).opened() as one:
        yield one
