"""As many models as fit together, in the precision that each is to be drawn in."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace

import pytest

from engine.contract import BadRecipe, OutOfMemory, UnknownModel
from engine.diffusion.model_manager import FIRST_PAUSE, LoadedModel, LoadError, ModelManager
from engine.diffusion.request_state import BatchKey
from engine.families.control import ControlNet
from engine.families.z_image.spec import demo
from engine.spec import ControlSpec, ModelSpec
from tests.fakes.clock import FakeClock
from tests.unit.engine.diffusion.toy import Toy

ONE, TWO, THREE = (ModelSpec(replace(demo(), name=name)) for name in ("one", "two", "three"))
KIND = BatchKey("one", 8, 8)


class Loads:
    """Keeps a list of what it was asked for."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.fitted: list[tuple[int, int]] = []
        self.broken = ""
        self.bursts: set[str] = set()
        self.too_large: set[str] = set()
        self.stay: list[bool] = []
        self.huge = 0
        self.huge_beside_controls = False
        self.together = 1
        self.bursts_beside: set[str] = set()
        self.roomy = 0

    def check(self, spec: ModelSpec, precision: str, resident: Sequence[LoadedModel], *, stay: bool = False) -> int:
        name = spec.profile.name
        self.stay.append(stay)
        if name == self.broken:
            raise LoadError(UnknownModel(f"{name} is of cheese."))
        if f"{name} {precision or 'auto'}" in self.too_large:
            raise LoadError(OutOfMemory(f"{name} is too large in {precision}."))
        return max(0, len(resident) - self.together + 1)

    def load(
        self, spec: ModelSpec, precision: str, beside: Sequence[LoadedModel] = (), *, stay: bool = False
    ) -> LoadedModel:
        name, asked = spec.profile.name, precision or "auto"
        if name == self.broken:
            raise LoadError(UnknownModel(f"{name} is of cheese."))
        if f"{name} {asked}" in self.bursts or (beside and name in self.bursts_beside):
            self.done.append(f"!{name} {asked}")
            raise LoadError(OutOfMemory(f"{name} bursts."))
        self.done.append(f"+{name} {asked}")
        return LoadedModel(spec, Toy(), precision or "bf16", "a plan", f"commit of {name}")

    def unload(self, loaded: LoadedModel) -> None:
        self.done.append(f"-{loaded.spec.profile.name}")

    def add_control(self, loaded: LoadedModel, control: ControlSpec, beside: Sequence[LoadedModel] = ()) -> None:
        if control.name == self.broken:
            raise UnknownModel(f"{control.name} is of cheese.")
        self.done.append(f"+{control.name}")
        assert isinstance(loaded.family, Toy)
        loaded.family.controls |= dict.fromkeys(control.kinds, ControlNet(control.name, None))

    def drop_controls(self, loaded: LoadedModel) -> bool:
        assert isinstance(loaded.family, Toy)
        dropped = bool(loaded.family.controls)
        self.done.extend(["-controls"] * dropped)
        loaded.family.controls.clear()
        return dropped

    def crowding(self, loaded: LoadedModel, width: int, height: int, others: Sequence[LoadedModel]) -> int:
        return len(others) if self.roomy and width >= self.roomy else 0

    def decodes_aside(
        self, loaded: LoadedModel, width: int, height: int, fits: int, beside: Sequence[LoadedModel] = ()
    ) -> bool:
        return fits > 1

    def fit(self, loaded: LoadedModel, width: int, height: int, beside: Sequence[LoadedModel] = ()) -> int:
        self.fitted.append((width, height))
        crowded = isinstance(loaded.family, Toy) and bool(loaded.family.controls)
        if self.huge and width >= self.huge and (crowded or not self.huge_beside_controls):
            raise OutOfMemory("too large")
        return 3

    def safer(self, precision: str) -> str | None:
        return {"bf16": "fp32"}.get(precision)


class LoadListener:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_loading(self, spec: ModelSpec) -> None:
        self.heard.append(f"loading {spec.profile.name}")

    def on_loaded(self, loaded: LoadedModel, seconds: float) -> None:
        assert seconds >= 0
        self.heard.append(f"loaded {loaded.spec.profile.name}")

    def on_load_failed(self, loaded: LoadedModel | None, problem: str) -> None:
        self.heard.append(f"kept {loaded.spec.profile.name if loaded else 'nothing'}: {problem}")

    def on_notice(self, text: str) -> None:
        self.heard.append(f"noted: {text}")


@pytest.fixture
def loads() -> Loads:
    return Loads()


@pytest.fixture
def tells() -> LoadListener:
    return LoadListener()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def manager(loads: Loads, tells: LoadListener, clock: FakeClock) -> ModelManager:
    return ModelManager((ONE, TWO), loads, tells, clock=clock.now)


def test_the_first_one_is_the_default(manager: ModelManager, loads: Loads) -> None:
    assert manager.loaded == ""
    manager.load_default()
    assert manager.loaded == "one"
    assert loads.done == ["+one auto"]


def test_it_is_loaded_once_and_fitted_once_for_each_size(manager: ModelManager, loads: Loads) -> None:
    family = manager.family(KIND)
    assert manager.family(KIND) is family
    manager.family(replace(KIND, width=16))
    assert (loads.done, loads.fitted) == (["+one auto"], [(8, 8), (16, 8)])
    assert manager.max_batch(KIND) == 3
    assert manager.revision("one") == "commit of one"


def test_another_takes_its_place(manager: ModelManager, loads: Loads) -> None:
    manager.family(KIND)
    manager.family(replace(KIND, model="two"))
    assert loads.done == ["+one auto", "-one", "+two auto"]
    assert manager.loaded == "two"
    manager.family(KIND)
    assert loads.done[3:] == ["-two", "+one bf16"]
    assert loads.fitted == [(8, 8)] * 3, "what fits one says nothing of the other"


def test_a_text_encoder_that_is_here_takes_no_room_of_pictures(
    manager: ModelManager, loads: Loads, tells: LoadListener
) -> None:
    loads.together, loads.roomy = 2, 16
    one = manager.family(replace(KIND, precision="fp32"))
    manager.family(replace(KIND, model="two"))
    done, heard = list(loads.done), list(tells.heard)
    assert manager.load("one") is one
    assert (loads.done, tells.heard) == (done, heard), "the one that draws stays, and nothing is loaded"
    manager.unload()
    assert manager.load("one") is manager.resident_family("one")


def test_a_kind_in_another_precision_and_back(manager: ModelManager, loads: Loads) -> None:
    manager.family(KIND)
    assert manager.safer_precision(KIND) == "fp32"
    other = replace(KIND, precision="fp32")
    manager.family(other)
    assert manager.precision(other) == "fp32"
    assert manager.safer_precision(other) is None
    manager.family(KIND)
    assert loads.done == ["+one auto", "-one", "+one fp32", "-one", "+one bf16"]


def test_settled_it_stays(manager: ModelManager, loads: Loads) -> None:
    manager.family(KIND)
    manager.set_default_precision("one", "fp32")
    manager.family(KIND)
    manager.family(replace(KIND, model="two"))
    manager.family(KIND)
    assert [d for d in loads.done if d.startswith("+one")] == ["+one auto", "+one fp32", "+one fp32"]


def test_unloaded_it_comes_back(manager: ModelManager, loads: Loads) -> None:
    manager.unload()
    manager.family(KIND)
    manager.unload()
    assert manager.loaded == ""
    manager.family(KIND)
    assert loads.done == ["+one auto", "-one", "+one bf16"]


def test_what_cannot_be_loaded_is_an_error_and_the_others_go_on(manager: ModelManager, loads: Loads) -> None:
    loads.broken = "two"
    manager.family(KIND)
    with pytest.raises(UnknownModel, match="cheese"):
        manager.family(replace(KIND, model="two"))
    assert manager.loaded == "one", "what works is left where it is"
    manager.family(KIND)
    assert loads.done == ["+one auto"]
    with pytest.raises(UnknownModel, match="no model 'three'"):
        manager.family(replace(KIND, model="three"))


def test_too_large_is_an_error_each_time(manager: ModelManager, loads: Loads) -> None:
    loads.huge = 99
    for _ in range(2):
        with pytest.raises(OutOfMemory):
            manager.family(replace(KIND, width=99))
    manager.family(KIND)


def test_a_precision_that_cannot_be_had_is_asked_for_once(
    manager: ModelManager, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = loads.load
    monkeypatch.setattr(
        loads,
        "load",
        lambda spec, precision, beside, **how: replace(usual(spec, precision, beside, **how), precision="gguf"),
    )
    other = replace(KIND, precision="fp32")
    manager.family(other)
    manager.family(other)
    assert loads.done == ["+one fp32"]


SECOND = replace(KIND, model="two")


def test_what_is_too_large_by_its_plan_is_refused_before_anything_is_unloaded(
    manager: ModelManager, loads: Loads, tells: LoadListener
) -> None:
    family = manager.family(KIND)
    loads.too_large = {"two auto"}
    for _ in range(3):
        with pytest.raises(OutOfMemory, match="too large"):
            manager.family(SECOND)
        assert manager.family(KIND) is family
    assert loads.done == ["+one auto"]
    said = [h for h in tells.heard if h.startswith("kept one: two can't be loaded")]
    assert len(said) == 3
    assert all("one stays loaded" in s for s in said)
    assert "loading two" not in tells.heard


def test_what_bursts_while_it_is_loaded_brings_the_one_before_back(
    manager: ModelManager, loads: Loads, tells: LoadListener
) -> None:
    manager.family(KIND)
    loads.bursts = {"two auto"}
    with pytest.raises(OutOfMemory, match="bursts"):
        manager.family(SECOND)
    assert manager.loaded == "one"
    assert loads.done == ["+one auto", "-one", "!two auto", "+one bf16"]
    assert tells.heard[-1].startswith("kept one: two can't be loaded: two bursts; one was loaded again")
    manager.family(KIND)
    assert len(loads.done) == 4


def test_what_burst_is_not_tried_at_each_request(manager: ModelManager, loads: Loads, clock: FakeClock) -> None:
    manager.family(KIND)
    loads.bursts = {"two auto"}

    def tries() -> int:
        with pytest.raises(OutOfMemory, match="bursts"):
            manager.family(SECOND)
        return loads.done.count("!two auto")

    assert [tries() for _ in range(4)] == [1, 1, 1, 1]
    clock.advance(FIRST_PAUSE)
    assert [tries() for _ in range(2)] == [2, 2]
    clock.advance(FIRST_PAUSE)
    assert tries() == 2, "each failure doubles the pause"
    clock.advance(FIRST_PAUSE)
    loads.bursts = set()
    manager.family(SECOND)
    assert manager.loaded == "two"


def test_a_refusal_keeps_nothing_of_the_requests_that_got_it(manager: ModelManager, loads: Loads) -> None:
    manager.family(KIND)
    loads.bursts = {"two auto"}

    def refused() -> weakref.ref[object]:
        request = Toy()  # a local variable of a frame in the error's traceback
        try:
            manager.family(SECOND)
        except OutOfMemory:
            return weakref.ref(request)
        pytest.fail("two was loaded")

    requests = [refused() for _ in range(3)]
    gc.collect()
    assert [request() for request in requests] == [None] * 3


def test_with_nothing_to_unload_it_is_tried_each_time(manager: ModelManager, loads: Loads, tells: LoadListener) -> None:
    loads.bursts = {"two auto"}
    for _ in range(2):
        with pytest.raises(OutOfMemory, match="bursts"):
            manager.family(SECOND)
    assert loads.done.count("!two auto") == 2
    assert tells.heard[-1].startswith("kept nothing: two can't be loaded")
    manager.family(KIND)


def test_when_not_even_the_one_before_comes_back_the_next_request_tries_it(
    manager: ModelManager, loads: Loads, tells: LoadListener
) -> None:
    manager.family(KIND)
    loads.bursts = {"two auto", "one bf16"}
    with pytest.raises(OutOfMemory, match="two bursts"):
        manager.family(SECOND)
    assert manager.loaded == ""
    assert tells.heard[-1].startswith("kept nothing: two can't be loaded: two bursts; one could not be loaded again")
    loads.bursts = {"two auto"}
    manager.family(KIND)
    assert manager.loaded == "one"


def test_a_safer_precision_that_bursts_leaves_the_usual_one(manager: ModelManager, loads: Loads) -> None:
    manager.family(KIND)
    loads.bursts = {"one fp32"}
    with pytest.raises(OutOfMemory):
        manager.family(replace(KIND, precision="fp32"))
    manager.family(KIND)
    assert loads.done == ["+one auto", "-one", "!one fp32", "+one bf16"]
    assert loads.stay == [True]
    manager.family(SECOND)
    assert loads.stay == [True, False]


def test_a_usual_precision_that_does_not_fit_any_more_is_planned_anew(
    manager: ModelManager, loads: Loads, tells: LoadListener
) -> None:
    manager.family(KIND)
    manager.set_default_precision("one", "fp32")
    loads.too_large = {"one fp32"}
    manager.family(KIND)
    assert manager.precision(KIND) == "bf16"
    assert any("does not fit in fp32 any more" in h for h in tells.heard)


def test_settling_is_said_once(manager: ModelManager, tells: LoadListener) -> None:
    manager.family(KIND)
    manager.set_default_precision("one", "fp32")
    manager.set_default_precision("one", "fp32")
    assert [h for h in tells.heard if h.startswith("noted")] == [
        "noted: one draws in fp32 from now on, since bf16 spoiled a picture."
    ]


def test_how_many_fit_is_known_of_the_loaded_precision_alone(manager: ModelManager) -> None:
    manager.family(KIND)
    assert manager.max_batch(KIND) == 3
    assert manager.max_batch(replace(KIND, precision="fp32")) == 1


CONTROLLED = replace(
    ONE,
    controls=(
        ControlSpec("edges", "Edges", ("canny", "hed"), "z_image", "/e"),
        ControlSpec("poses", "Poses", ("pose",), "z_image", "/p"),
    ),
)


def test_a_controlnet_is_loaded_on_first_use_and_again_with_its_model(loads: Loads, tells: LoadListener) -> None:
    manager = ModelManager((CONTROLLED, TWO), loads, tells)
    manager.family(KIND)
    manager.family(replace(KIND, control="hed"))
    manager.family(replace(KIND, control="canny"))
    manager.family(replace(KIND, control="pose"))
    assert loads.done == ["+one auto", "+edges", "+poses"]
    assert loads.fitted == [(8, 8)] * 3, "each of them takes some of the room"
    assert tells.heard[-4:] == ["loading one", "loaded one"] * 2
    manager.family(replace(KIND, model="two"))
    manager.family(replace(KIND, control="pose"))
    assert loads.done[3:] == ["-one", "+two auto", "-two", "+one bf16", "+poses"]


def test_a_controlnet_that_can_not_be_loaded_leaves_its_model(loads: Loads, tells: LoadListener) -> None:
    manager = ModelManager((CONTROLLED,), loads, tells)
    loads.broken = "poses"
    with pytest.raises(UnknownModel, match="poses is of cheese"):
        manager.family(replace(KIND, control="pose"))
    assert tells.heard[-1] == "kept one: poses is of cheese."
    with pytest.raises(BadRecipe, match="has no ControlNet for 'depth'; add one"):
        manager.family(replace(KIND, control="depth"))
    manager.family(KIND)
    assert loads.done == ["+one auto"]


def test_pictures_without_control_get_the_room_of_controlnets(loads: Loads, tells: LoadListener) -> None:
    manager = ModelManager((CONTROLLED,), loads, tells)
    family = manager.family(replace(KIND, control="pose"))
    loads.huge = 100
    with pytest.raises(OutOfMemory):
        manager.family(replace(KIND, width=200, control="pose"))
    loads.huge_beside_controls = True
    assert manager.family(replace(KIND, width=200)) is family
    assert loads.done[-1] == "-controls"


@pytest.fixture
def three(loads: Loads, tells: LoadListener, clock: FakeClock) -> ModelManager:
    """A manager of three models, of which two fit together."""
    loads.together = 2
    return ModelManager((ONE, TWO, THREE), loads, tells, clock=clock.now)


THIRD = replace(KIND, model="three")


def test_two_in_turn_are_loaded_once_where_both_fit(three: ModelManager, loads: Loads, tells: LoadListener) -> None:
    first, second = three.family(KIND), three.family(SECOND)
    assert first is not second
    for _ in range(3):
        assert three.family(KIND) is first
        assert three.loaded == "one"
        assert three.family(SECOND) is second
        assert three.loaded == "two"
    assert loads.done == ["+one auto", "+two auto"]
    assert set(three.resident) == {"one", "two"}
    assert tells.heard[-2:] == ["loaded one", "loaded two"], "the one that is drawn with is reported"
    assert (three.max_batch(KIND), three.max_batch(SECOND)) == (3, 3)


def test_the_least_recently_used_makes_way(three: ModelManager, loads: Loads) -> None:
    for key in (KIND, SECOND, KIND, THIRD):
        three.family(key)
    assert loads.done == ["+one auto", "+two auto", "-two", "+three auto"]
    assert list(three.resident) == ["one", "three"]
    three.unload()
    assert loads.done[4:] == ["-one", "-three"]
    assert not three.resident


def test_another_precision_takes_the_place_of_its_own_model(three: ModelManager, loads: Loads) -> None:
    three.family(KIND)
    three.family(SECOND)
    three.family(replace(SECOND, precision="fp32"))
    assert loads.done == ["+one auto", "+two auto", "-two", "+two fp32"]


def test_what_bursts_beside_another_is_loaded_alone(three: ModelManager, loads: Loads, tells: LoadListener) -> None:
    three.family(KIND)
    loads.bursts_beside = {"two"}
    three.family(SECOND)
    assert loads.done == ["+one auto", "!two auto", "-one", "+two auto"]
    assert not any(heard.startswith("kept") for heard in tells.heard)


def test_when_memory_runs_out_the_others_go_one_by_one_and_stay_away_for_a_while(
    three: ModelManager, loads: Loads, clock: FakeClock
) -> None:
    loads.together = 3
    for key in (KIND, SECOND, THIRD):
        three.family(key)
    assert [three.make_room("three") for _ in range(3)] == [True, True, False]
    assert loads.done[3:] == ["-one", "-two"]
    three.family(KIND)
    assert list(three.resident) == ["one"], "two models together have just been too much"
    clock.advance(2 * FIRST_PAUSE)
    three.family(SECOND)
    assert list(three.resident) == ["one", "two"]


def test_a_size_that_needs_the_room_of_the_others_gets_it(three: ModelManager, loads: Loads) -> None:
    loads.roomy = 100
    three.family(SECOND)
    three.family(KIND)
    three.family(replace(KIND, width=64))
    assert set(three.resident) == {"one", "two"}
    three.family(replace(KIND, width=128))
    assert list(three.resident) == ["one"]
    assert loads.done[-1] == "-two"


def test_one_that_can_not_be_loaded_leaves_all_the_others(
    three: ModelManager, loads: Loads, tells: LoadListener
) -> None:
    three.family(KIND)
    three.family(SECOND)
    loads.broken = "three"
    with pytest.raises(UnknownModel):
        three.family(THIRD)
    assert list(three.resident) == ["one", "two"]
    assert tells.heard[-1].endswith("two stays loaded.")
