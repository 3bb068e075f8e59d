"""Recovery on simulated cards where several things are there at once: models, LoRAs, ControlNets, a second stream."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from engine import catalogue
from engine.contract import Image, LoraInfo, LoraRequest, OutOfMemory, Overflow
from engine.diffusion.lora_hooks import hooks_of
from engine.diffusion.lora_library import LoraLibrary
from engine.diffusion.memory.plan import plan
from engine.diffusion.memory.probe import libraries
from engine.diffusion.memory.types import CPU
from engine.diffusion.model_manager import FIRST_PAUSE
from engine.diffusion.request_state import RequestState
from engine.spec import LoraSpec
from tests.fakes import controlnets, loras, models, pipelines
from tests.fakes.simulated_card import SimulatedCard
from tests.unit.engine.diffusion.memory.devices import card as planned_card
from tests.unit.engine.diffusion.memory.test_plan_simulated import DEMO, OTHER, RECIPE, ROOM, bench, pixels, two
from tests.unit.engine.diffusion.test_decoding import SlowStream

pytestmark = pytest.mark.slow


def test_a_step_without_memory_unloads_the_other_model_and_keeps_its_pictures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with bench(monkeypatch, SimulatedCard(ROOM), two(tmp_path)) as engine:
        engine.draw(OTHER)
        engine.draw(RECIPE)
        engine.card.faults.append(("step", "oom"))
        engine.ends.steps.clear()
        ends = engine.draw(*(replace(RECIPE, seed=n) for n in range(4)))
        assert all(isinstance(end, Image) for end in ends)
        assert engine.loader.done[-1] == "-small"
        assert max(len(step) for step in engine.ends.steps) > 2, "with its memory, none is split off"
        assert engine.told.said == ["small was unloaded, since the device's memory was short."]
        engine.draw(OTHER)
        assert engine.loader.done[-2:] == ["-demo", "+small fp16"], "for a while no model is loaded beside another"
        engine.clock.advance(FIRST_PAUSE)
        engine.draw(RECIPE)
        assert engine.loader.done[-1] == "+demo bf16", "then they stay together again"


def test_neither_the_new_model_nor_the_one_before_can_be_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with bench(monkeypatch, SimulatedCard(ROOM), two(tmp_path)) as engine:
        engine.draw(RECIPE)
        engine.card.faults += [("load", "oom")] * 3
        (refused,) = engine.draw(OTHER)
        assert isinstance(refused, OutOfMemory)
        assert list(engine.manager.resident) == []
        assert "demo could not be loaded again either" in engine.told.said[-1]
        (later,) = engine.draw(RECIPE)
        assert isinstance(later, Image), "the next request loads it"


def test_the_only_model_cannot_be_loaded_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with bench(monkeypatch, SimulatedCard(ROOM, faults=[("load", "oom")])) as engine:
        refused, also = engine.draw(RECIPE, replace(RECIPE, seed=2))
        assert isinstance(refused, OutOfMemory)
        assert isinstance(also, OutOfMemory | Image)
        assert engine.card.allocator.allocated == 0, "nothing of it is left on the card"
        assert "no model is loaded until the next request" in engine.told.said[0]
        (later,) = engine.draw(RECIPE)
        assert isinstance(later, Image)


def test_a_larger_size_makes_another_model_leave(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with bench(monkeypatch, SimulatedCard(ROOM), two(tmp_path)) as engine:
        engine.draw(OTHER)
        engine.draw(RECIPE)
        made = engine.memory().plan
        larger = replace(RECIPE, width=1024, height=1024, steps=1)
        # The card has so much left that the larger picture fits alone only.
        alone = plan(DEMO.profile, 1024, 1024, planned_card(ROOM), made.precision, libraries()).device_bytes
        small = engine.memory("small").weights
        memory = engine.memory()
        memory.plan = replace(made, budget=alone + small // 2)
        (end,) = engine.draw(larger)
        assert isinstance(end, Image)
        assert engine.loader.done[-1] == "-small"


def test_a_size_that_never_fits_fails_and_others_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    with bench(monkeypatch, SimulatedCard(ROOM)) as engine:
        engine.draw(RECIPE)
        memory = engine.memory()
        memory.plan = replace(memory.plan, budget=memory.plan.device_bytes)
        refused, drawn = engine.draw(replace(RECIPE, width=2048, height=2048), RECIPE)
        assert isinstance(refused, OutOfMemory)
        assert "ask for a smaller one" in str(refused)
        assert isinstance(drawn, Image)


def test_nans_of_the_vae_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with bench(monkeypatch, SimulatedCard(ROOM, faults=[("decode", "nan")])) as engine:
        first, second = engine.draw(RECIPE, replace(RECIPE, seed=2))
        assert isinstance(first, Image)
        assert isinstance(second, Image)
        assert {first.precision, second.precision} == {"fp32", "bf16"}
        assert np.ptp(pixels(first)) > 0


def test_a_safer_precision_does_not_move_the_model_to_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card on which bf16 draws and fp32 does not fit."""
    tight = 480 / 1024
    found = {asked: plan(DEMO.profile, 512, 512, planned_card(tight), asked, libraries()) for asked in ("auto", "fp32")}
    assert (found["auto"].precision, found["auto"].on, found["fp32"].on) == ("bf16", "cuda", CPU)
    with bench(monkeypatch, SimulatedCard(tight, faults=[("step", "nan")])) as engine:
        failed, drawn = engine.draw(RECIPE, replace(RECIPE, seed=2))
        assert isinstance(failed, Overflow)
        assert isinstance(drawn, Image)
        assert not any(done.startswith("-") for done in engine.loader.done)


def test_a_safer_default_that_fits_no_more_gives_way_to_the_planned_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with bench(monkeypatch, SimulatedCard(ROOM, faults=[("step", "nan")])) as engine:
        (safe,) = engine.draw(RECIPE)
        assert isinstance(safe, Image)
        assert safe.precision == "fp32", "which is the default from now on"
        engine.manager.unload()
        engine.card.faults.append(("load", "oom"))
        (drawn,) = engine.draw(replace(RECIPE, seed=2))
        assert isinstance(drawn, Image)
        assert drawn.precision == "bf16"
        assert engine.loader.done[-1] == "+demo bf16"
        assert "demo does not fit in fp32 any more and draws in bf16 from now on." in engine.told.said


def test_a_lora_without_memory_fails_its_own_picture_or_makes_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = loras.peft(pipelines.load(Path(DEMO.profile.source)), tmp_path / "style.safetensors")
    styled = replace(RECIPE, loras=(LoraRequest("style", 1.0),))
    with bench(monkeypatch, SimulatedCard(ROOM), two(tmp_path)) as engine:
        specs = [LoraSpec(LoraInfo("style", "Style", (), ""), str(file))]
        engine.executor._loras = LoraLibrary(specs)

        def short(*args: Any) -> Any:
            engine.card.fault("lora")
            return hooks_of(*args)

        monkeypatch.setattr("engine.diffusion.lora_library.hooks_of", short)
        engine.card.faults.append(("lora", "oom"))
        refused, plain = engine.draw(styled, RECIPE)
        assert isinstance(refused, OutOfMemory)
        assert isinstance(plain, Image)
        engine.draw(OTHER)
        engine.card.faults.append(("lora", "oom"))
        (drawn,) = engine.draw(styled)
        assert isinstance(drawn, Image), "another model made room"
        assert engine.loader.done[-1] == "-small"
        assert not np.array_equal(pixels(drawn), pixels(plain))


def test_a_controlnet_without_room_is_refused_and_one_in_the_way_leaves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    models.small_sd15(tmp_path / "small")
    controlnets.controlnet(pipelines.load(tmp_path / "small"), tmp_path / "depth")
    (tmp_path / "models.toml").write_text(
        '[small]\nsource = "small"\n[control.one]\nkind = "depth"\nsource = "depth"\n'
    )
    Pillow.new("RGB", (64, 64), (200, 30, 30)).save(tmp_path / "red.png")
    specs = catalogue.read_catalogue("small", "", str(tmp_path / "models.toml")).specs
    plain = replace(OTHER, steps=1)
    led = replace(plain, image=str(tmp_path / "red.png"), control="depth")
    with bench(monkeypatch, SimulatedCard(ROOM), specs) as engine:
        engine.draw(plain)
        memory = engine.memory("small")
        usual = memory.plan
        memory.plan = replace(usual, budget=usual.device_bytes)
        refused, drawn = engine.draw(led, plain)
        assert isinstance(refused, OutOfMemory)
        assert "draw without it" in str(refused)
        assert isinstance(drawn, Image)
        memory.plan = usual
        (followed,) = engine.draw(led)
        assert isinstance(followed, Image)
        assert memory.controls > 0
        alone = plan(specs[0].profile, 512, 512, planned_card(ROOM), usual.precision, libraries()).device_bytes
        memory.plan = replace(usual, budget=alone + memory.controls // 2)
        (large,) = engine.draw(replace(plain, width=512, height=512))
        assert isinstance(large, Image)
        assert memory.controls == 0, "the ControlNet made room for a larger picture without control"


def test_without_memory_for_a_decode_beside_steps_it_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    card, stream = SimulatedCard(ROOM), SlowStream()
    with bench(monkeypatch, card) as engine:
        (exact,) = engine.draw(RECIPE)
        engine.executor._aside._stream = stream
        assert engine.manager.decodes_aside(RequestState(0, RECIPE).key)
        ends = engine.draw(RECIPE, replace(RECIPE, seed=2, steps=5))
        assert len(stream.copies) == 2, "the first was decoded beside the steps of the second"
        assert np.array_equal(pixels(ends[0]), pixels(exact))
        card.faults.append(("decode", "oom"))
        ends = engine.draw(RECIPE, replace(RECIPE, seed=2, steps=5))
        assert card.taken == [("decode", "oom")]
        assert len(stream.copies) == 2, "then it was decoded alone"
        assert np.array_equal(pixels(ends[0]), pixels(exact))
        memory = engine.memory()
        memory.plan = replace(memory.plan, budget=memory.plan.device_bytes)
        assert not engine.manager.decodes_aside(RequestState(0, RECIPE).key)
