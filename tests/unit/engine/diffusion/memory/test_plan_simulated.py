"""Plan, loading, drawing, fallback and recovery on simulated cards, with the whole engine below the pipe."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from engine import catalogue
from engine.contract import EngineError, Image, OutOfMemory, Recipe
from engine.diffusion import loader as loader_module
from engine.diffusion.executor import FIRST_CAP, StepExecutor
from engine.diffusion.image_encoder import ImageEncoder
from engine.diffusion.memory import stream as streaming
from engine.diffusion.memory.plan import plan
from engine.diffusion.memory.probe import libraries, plain_tensors
from engine.diffusion.memory.types import GIB, ModelMemory, Plan
from engine.diffusion.model_manager import FIRST_PAUSE, ModelManager
from engine.diffusion.request_state import RequestState
from engine.families.spec import DENOISERS, TEXT_ENCODER
from engine.families.z_image.spec import demo
from engine.spec import ModelSpec
from tests.fakes import models
from tests.fakes.clock import FakeClock
from tests.fakes.simulated_card import MIB, SimulatedCard, SimulatedLoader, simulated
from tests.unit.engine.diffusion.memory.devices import card as planned_card
from tests.unit.engine.diffusion.toy import Ends, Quiet

pytestmark = pytest.mark.slow

# Planned for pictures of 512x512, so that decoding takes more than a prompt, as it does with models of full size.
DEMO = ModelSpec(replace(demo(), presets={"square": (512, 512)}))
RECIPE = Recipe("a", "demo", "a red apple", "", 64, 64, 2, 0.0, 1)
ROOM = 2.0
"""GiB of a card on which everything fits."""


class Telling(Quiet):
    """Keeps what the operator is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def on_load_failed(self, loaded: object, problem: str) -> None:
        self.said.append(problem)

    def on_notice(self, text: str) -> None:
        self.said.append(text)


class Bench:
    """An engine on a simulated card."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, card: SimulatedCard, specs: Sequence[ModelSpec]) -> None:
        self.card, self.clock, self.ends, self.told = card, FakeClock(), Ends(), Telling()
        self.loader: SimulatedLoader = simulated(monkeypatch, card)
        self.manager = ModelManager(specs, self.loader, self.told, clock=self.clock.now)
        self.encoder = ImageEncoder()
        self.executor = StepExecutor(self.manager, self.ends, self.encoder, self.loader.device, clock=self.clock.now)
        self._next = 0

    def draw(self, *recipes: Recipe) -> list[Image | EngineError]:
        """Draw pictures that arrive together; return the end of each."""
        tickets = range(self._next, self._next + len(recipes))
        self._next += len(recipes)
        self.executor.add(RequestState(t, r) for t, r in zip(tickets, recipes, strict=True))
        while len(self.executor):
            self.executor.step()
        self.encoder._pool.submit(lambda: None).result(60)  # which comes after all pictures
        return [self.ends.ends[t] for t in tickets]

    def memory(self, model: str = "demo") -> ModelMemory:
        """The memory of a model on the card."""
        found = self.manager._resident[model].model.memory
        assert found is not None
        return found


@contextmanager
def bench(
    monkeypatch: pytest.MonkeyPatch, card: SimulatedCard, specs: Sequence[ModelSpec] = (DEMO,)
) -> Iterator[Bench]:
    made = Bench(monkeypatch, card, specs)
    try:
        yield made
    finally:
        made.encoder.close()


def pixels(end: Image | EngineError) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    assert isinstance(end, Image), end
    return np.asarray(Pillow.open(io.BytesIO(end.data))).astype(int)


def placement(made: Plan) -> tuple[str, str, str]:
    return made.on, made.offload, f"{made.precision} {made.text_encoder}"


def cards(*, stream: bool) -> dict[tuple[str, str, str], float]:
    """Return the largest card, in GiB, for each way in which the demo is placed as cards become smaller."""
    found: dict[tuple[str, str, str], float] = {}
    for mib in _sizes():
        device = planned_card(mib / 1024, stream=stream)
        made = plan(DEMO.profile, 512, 512, device, "auto", libraries())
        found.setdefault(placement(made), mib / 1024)
    return found


def _sizes() -> Iterator[float]:
    return (mib / 4 for mib in range(4 * 560, 4 * 400, -1))


STREAMED, UNSTREAMED = cards(stream=True), cards(stream=False)


def test_smaller_cards_place_the_model_in_every_way() -> None:
    assert {(on, offload) for on, offload, _ in (*STREAMED, *UNSTREAMED)} == {
        ("cuda", "none"),
        ("cuda", "text"),
        ("cuda", "group"),
        ("cuda", "model"),
        ("cpu", "none"),
    }


@pytest.mark.parametrize(
    ("way", "stream"),
    [(way, True) for way in STREAMED] + [(way, False) for way in UNSTREAMED if way not in STREAMED],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_every_placement_draws_within_its_card(
    monkeypatch: pytest.MonkeyPatch, way: tuple[str, str, str], stream: bool
) -> None:
    monkeypatch.setattr(streaming, "LEAST", 1)
    card = SimulatedCard((STREAMED if stream else UNSTREAMED)[way], stream=stream)
    with bench(monkeypatch, card) as engine:
        first, second = engine.draw(RECIPE, replace(RECIPE, prompt="a blue cup"))
        made = engine.memory().plan
        assert placement(made) == way
        assert pixels(first).shape == (64, 64, 3)
        assert not np.array_equal(pixels(first), pixels(second))
        assert card.taken == []
        if made.on == "cuda":
            assert card.allocator.peak <= made.budget
        if made.on == "cuda" and made.offload in ("none", "text"):
            held = sum(card.weights(engine.manager._resident["demo"].model.family.pipe).values())
            assert held == pytest.approx(made.weight_bytes, rel=0.1)


def test_layer_by_layer_it_draws_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's layers are so small that its plan never takes this way."""
    with bench(monkeypatch, SimulatedCard(ROOM)) as engine:
        exact = pixels(engine.draw(RECIPE)[0])
    monkeypatch.setattr(
        loader_module,
        "plan",
        lambda *args, **more: replace(plan(*args, **more), offload="sequential", text_encoder="host", weight_bytes=0),
    )
    with bench(monkeypatch, SimulatedCard(ROOM)) as engine:
        # Where its weights lie, a processor rounds some numbers of bf16 otherwise.
        assert np.abs(pixels(engine.draw(RECIPE)[0]) - exact).max() <= 1
        assert engine.memory().plan.offload == "sequential"


def test_pinned_bytes_are_those_of_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the weights that are streamed; each block's are in one piece of memory."""
    monkeypatch.setattr(streaming, "LEAST", 1)
    for way, gib in STREAMED.items():
        if way[1] not in ("text", "group"):
            continue
        with bench(monkeypatch, SimulatedCard(gib)) as engine:
            engine.draw(RECIPE)
            made, pipe = engine.memory().plan, engine.manager._resident["demo"].model.family.pipe
            streamed = [
                part
                for name, part in pipe.components.items()
                if name.startswith(TEXT_ENCODER) or (made.offload == "group" and name in DENOISERS)
            ]
            pieces = {}
            for part in streamed:
                for block in streaming.blocks(part):
                    for tensor in streaming._slots(block):
                        for plain in plain_tensors(tensor[2]):
                            pieces[plain.untyped_storage().data_ptr()] = plain.untyped_storage().nbytes()
            print(f"{way}: {sum(pieces.values())} bytes pinned, {made.pinned_bytes} planned")  # noqa: T201 - figures, shown by -rP
            assert sum(pieces.values()) == pytest.approx(made.pinned_bytes, rel=0.1)


def two(tmp_path: Path) -> tuple[ModelSpec, ModelSpec]:
    folder = models.small_sd15(tmp_path / "small")
    return DEMO, catalogue.specs(str(folder), str(tmp_path), "")[0]


OTHER = replace(RECIPE, model="small", prompt="a red cat")


def test_memory_runs_out_while_a_second_model_is_loaded_beside_the_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    card = SimulatedCard(ROOM)
    with bench(monkeypatch, card, two(tmp_path)) as engine:
        engine.draw(RECIPE)
        card.faults.append(("load", "oom"))
        (end,) = engine.draw(OTHER)
        assert isinstance(end, Image)
        assert engine.loader.done == ["+demo bf16", "-demo", "+small fp16"]
        assert engine.told.said == []


def test_memory_runs_out_with_nothing_left_to_unload(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    card = SimulatedCard(ROOM)
    with bench(monkeypatch, card, two(tmp_path)) as engine:
        engine.draw(RECIPE)
        card.faults += [("load", "oom")] * 2
        refused, still = engine.draw(OTHER, RECIPE)
        assert isinstance(refused, OutOfMemory)
        assert "\n" not in str(refused)
        assert isinstance(still, Image)
        assert engine.loader.done == ["+demo bf16", "-demo", "+demo bf16"]
        (said,) = engine.told.said
        assert said.endswith("demo was loaded again.")
        engine.draw(OTHER)
        assert len(card.taken) == 2, "it is not tried again at once"
        engine.clock.advance(FIRST_PAUSE)
        (later,) = engine.draw(OTHER)
        assert isinstance(later, Image)


def test_a_second_model_that_is_too_large_is_refused_and_the_first_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, small = two(tmp_path)
    large = replace(small, profile=replace(small.profile, parameters={"unet": 10**11, "text_encoder": 1, "vae": 1}))
    with bench(monkeypatch, SimulatedCard(ROOM), (first, large)) as engine:
        engine.draw(RECIPE)
        refused, still = engine.draw(OTHER, RECIPE)
        assert isinstance(refused, OutOfMemory)
        assert "choose a smaller model" in str(refused)
        assert isinstance(still, Image)
        assert engine.loader.done == ["+demo bf16"]
        assert engine.told.said[-1].endswith("demo stays loaded.")


def test_models_in_turn_stay_where_they_fit_and_make_way_where_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    specs = two(tmp_path)
    with bench(monkeypatch, SimulatedCard(ROOM), specs) as engine:
        for recipe in (RECIPE, OTHER) * 3:
            engine.draw(recipe)
        assert engine.loader.done == ["+demo bf16", "+small fp16"]
        held = {n: engine.memory(n).held("cuda") for n in ("demo", "small")}
        assert sum(held.values()) <= engine.card.allocator.allocated
    # As large as the demo alone needs: beside another model it would lose its text encoder.
    least = min(gib for way, gib in _edges().items() if way == ("cuda", "none", "bf16 device"))
    with bench(monkeypatch, SimulatedCard(least), specs) as engine:
        for recipe in (RECIPE, OTHER, RECIPE):
            (end,) = engine.draw(recipe)
            assert isinstance(end, Image)
        assert engine.loader.done == ["+demo bf16", "-demo", "+small fp16", "-small", "+demo bf16"]


def _edges() -> dict[tuple[str, str, str], float]:
    """Return the smallest card for each way in which the demo is placed."""
    found: dict[tuple[str, str, str], float] = {}
    for mib in _sizes():
        made = plan(DEMO.profile, 512, 512, planned_card(mib / 1024), "auto", libraries())
        found[placement(made)] = mib / 1024
    return found


def test_memory_runs_out_in_a_step_fewer_share_it_and_later_more_again(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimulatedCard(ROOM)
    with bench(monkeypatch, card) as engine:
        engine.draw(RECIPE)
        engine.ends.steps.clear()
        card.faults.append(("step", "oom"))
        four = [replace(RECIPE, seed=n) for n in range(4)]
        assert all(isinstance(end, Image) for end in engine.draw(*four))
        assert max(len(step) for step in engine.ends.steps) == 2
        engine.clock.advance(FIRST_CAP)
        engine.ends.steps.clear()
        again = engine.draw(*four)
        assert max(len(step) for step in engine.ends.steps) == 4
        assert all(isinstance(end, Image) for end in again)


@pytest.mark.soak
def test_memory_really_runs_out_in_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card that is smaller than it said: what is made in the step does not fit, for eight pictures or for one."""
    card = SimulatedCard(ROOM)
    with bench(monkeypatch, card) as engine:
        engine.draw(RECIPE)
        card.release()
        peaks = {}
        for count in (1, 8):
            card.allocator.peak = card.allocator.allocated
            engine.draw(*(replace(RECIPE, seed=n, width=256, height=256) for n in range(count)))
            peaks[count] = card.allocator.peak
        assert peaks[8] > peaks[1] + 2 * MIB
        card.release()
        card.allocator.limit = card.allocator.reserved + 20 * MIB
        ends = engine.draw(*(replace(RECIPE, seed=n, width=256, height=256) for n in range(8)))
        print(peaks, card.allocator.limit, [len(step) for step in engine.ends.steps])  # noqa: T201 - figures, shown by -rP
        assert all(isinstance(end, Image | OutOfMemory) for end in ends)
        card.allocator.limit = round(ROOM * GIB)
        (later,) = engine.draw(RECIPE)
        assert isinstance(later, Image), "the engine goes on"


def test_memory_runs_out_while_a_prompt_is_encoded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    card = SimulatedCard(ROOM, faults=[("encode", "oom")])
    with bench(monkeypatch, card, two(tmp_path)) as engine:
        refused, drawn = engine.draw(RECIPE, replace(RECIPE, prompt="a cup"))
        assert isinstance(refused, OutOfMemory)
        assert isinstance(drawn, Image)
        card.faults.append(("encode", "oom"))
        (other,) = engine.draw(OTHER)
        assert isinstance(other, Image), "the demo made room"
        assert engine.loader.done[-1] == "-demo"


def test_memory_runs_out_while_a_picture_is_decoded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    card = SimulatedCard(ROOM)
    with bench(monkeypatch, card, two(tmp_path)) as engine:
        engine.draw(RECIPE)
        card.faults += [("decode", "oom")] * 2
        (end,) = engine.draw(OTHER)
        assert isinstance(end, Image)
        assert engine.loader.done[-1] == "-demo", "another model goes first"
        assert engine.manager._resident["small"].model.family.pipe.vae.use_tiling, "then the VAE works in tiles"
        card.faults += [("decode", "oom")]
        (refused,) = engine.draw(OTHER)
        assert isinstance(refused, OutOfMemory)
        vae = engine.manager._resident["small"].model.family.pipe.vae
        for pause, tiled in ((FIRST_CAP / 2, True), (FIRST_CAP, False)):
            engine.clock.advance(pause)
            (later,) = engine.draw(OTHER)
            assert isinstance(later, Image)
            assert vae.use_tiling is tiled
        card.faults += [("decode", "oom")]
        (later,) = engine.draw(OTHER)
        assert isinstance(later, Image), "it is decoded in tiles again"
        engine.clock.advance(FIRST_CAP)
        engine.draw(OTHER)
        assert vae.use_tiling, "for twice as long"


def test_memory_runs_out_while_weights_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "LEAST", 1)
    way = next(way for way in STREAMED if way[1] == "group")
    with bench(monkeypatch, SimulatedCard(STREAMED[way])) as engine:
        (exact,) = engine.draw(RECIPE)
        limit = engine.card.allocator.limit
        engine.card.release()
        engine.card.allocator.limit = engine.card.allocator.reserved
        (refused,) = engine.draw(replace(RECIPE, prompt="a green tree"))
        assert isinstance(refused, OutOfMemory)
        engine.card.allocator.limit = limit
        (again,) = engine.draw(RECIPE)
        assert np.array_equal(pixels(again), pixels(exact)), "what a failed call left behind changes nothing"


def test_one_picture_of_nans_is_drawn_again_and_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimulatedCard(ROOM, faults=[("step", "nan")])
    with bench(monkeypatch, card) as engine:
        ends = engine.draw(*(replace(RECIPE, seed=n) for n in range(3)))
        assert [end.precision for end in ends if isinstance(end, Image)] == ["fp32", "bf16", "bf16"]
        assert engine.loader.done == ["+demo bf16", "-demo", "+demo fp32"]
        assert all(np.ptp(pixels(end)) > 0 for end in ends)


def test_nans_in_every_precision_fail_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimulatedCard(ROOM, faults=[("step", "nan")] * 3)
    with bench(monkeypatch, card) as engine:
        (end,) = engine.draw(replace(RECIPE, steps=1))
        assert isinstance(end, EngineError)
        assert not isinstance(end, OutOfMemory)
        card.faults.clear()
        (later,) = engine.draw(RECIPE)
        assert isinstance(later, Image)


@pytest.mark.parametrize("times", [1, 2])
def test_a_picture_of_one_colour_is_drawn_once_more(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    card = SimulatedCard(ROOM, faults=[("decode", "flat")] * times)
    with bench(monkeypatch, card) as engine:
        (end,) = engine.draw(RECIPE)
        assert bool(np.ptp(pixels(end)) == 0) is (times == 2), "drawn twice, it is what the prompt asks for"
        assert engine.loader.done == ["+demo bf16", "-demo", "+demo fp32"]
        usual = engine.manager._defaults["demo"]
        assert usual == ("fp32" if times == 1 else "bf16"), "the precision was the reason, or it was not"
