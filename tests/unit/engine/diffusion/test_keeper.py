"""One model at a time, in the precision that it is to be drawn in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.catalogue import demo
from engine.contract import OutOfMemory, UnknownModel
from engine.diffusion.keeper import CantLoad, Keeper, Loaded
from engine.diffusion.turns import Kind
from engine.spec import ModelSpec
from tests.unit.engine.diffusion.toy import Toy

ONE, TWO = (ModelSpec(replace(demo(), name=name)) for name in ("one", "two"))
KIND = Kind("one", 8, 8)


class Loads:
    """Keeps a list of what it was asked for."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.fitted: list[tuple[int, int]] = []
        self.broken = ""
        self.huge = 0

    def load(self, spec: ModelSpec, precision: str) -> Loaded:
        name = spec.profile.name
        if name == self.broken:
            raise CantLoad(UnknownModel(f"{name} is of cheese."))
        self.done.append(f"+{name} {precision or 'auto'}")
        return Loaded(spec, Toy(), precision or "bf16", "a plan", f"commit of {name}")

    def unload(self, loaded: Loaded) -> None:
        self.done.append(f"-{loaded.spec.profile.name}")

    def fit(self, loaded: Loaded, width: int, height: int) -> int:
        self.fitted.append((width, height))
        if self.huge and width >= self.huge:
            raise OutOfMemory("too large")
        return 3

    def safer(self, precision: str) -> str | None:
        return {"bf16": "fp32"}.get(precision)


class Tells:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def loading(self, spec: ModelSpec) -> None:
        self.heard.append(f"loading {spec.profile.name}")

    def loaded(self, loaded: Loaded, seconds: float) -> None:
        assert seconds >= 0
        self.heard.append(f"loaded {loaded.spec.profile.name}")


@pytest.fixture
def loads() -> Loads:
    return Loads()


@pytest.fixture
def keeper(loads: Loads) -> Keeper:
    return Keeper((ONE, TWO), loads, Tells())


def test_the_first_one_is_the_default(keeper: Keeper, loads: Loads) -> None:
    assert keeper.loaded == ""
    keeper.first()
    assert keeper.loaded == "one"
    assert loads.done == ["+one auto"]


def test_it_is_loaded_once_and_fitted_once_for_each_size(keeper: Keeper, loads: Loads) -> None:
    family = keeper.family(KIND)
    assert keeper.family(KIND) is family
    keeper.family(replace(KIND, width=16))
    assert (loads.done, loads.fitted) == (["+one auto"], [(8, 8), (16, 8)])
    assert keeper.most(KIND) == 3
    assert keeper.revision("one") == "commit of one"


def test_another_takes_its_place(keeper: Keeper, loads: Loads) -> None:
    keeper.family(KIND)
    keeper.family(replace(KIND, model="two"))
    assert loads.done == ["+one auto", "-one", "+two auto"]
    assert keeper.loaded == "two"
    keeper.family(KIND)
    assert loads.done[3:] == ["-two", "+one bf16"]
    assert loads.fitted == [(8, 8)] * 3, "what fits one says nothing of the other"


def test_a_kind_in_another_precision_and_back(keeper: Keeper, loads: Loads) -> None:
    keeper.family(KIND)
    assert keeper.safer(KIND) == "fp32"
    other = replace(KIND, precision="fp32")
    keeper.family(other)
    assert keeper.precision(other) == "fp32"
    assert keeper.safer(other) is None
    keeper.family(KIND)
    assert loads.done == ["+one auto", "-one", "+one fp32", "-one", "+one bf16"]


def test_settled_it_stays(keeper: Keeper, loads: Loads) -> None:
    keeper.family(KIND)
    keeper.settle("one", "fp32")
    keeper.family(KIND)
    keeper.family(replace(KIND, model="two"))
    keeper.family(KIND)
    assert [d for d in loads.done if d.startswith("+one")] == ["+one auto", "+one fp32", "+one fp32"]


def test_unloaded_it_comes_back(keeper: Keeper, loads: Loads) -> None:
    keeper.unload()
    keeper.family(KIND)
    keeper.unload()
    assert keeper.loaded == ""
    keeper.family(KIND)
    assert loads.done == ["+one auto", "-one", "+one bf16"]


def test_what_cannot_be_loaded_is_an_error_and_the_others_go_on(keeper: Keeper, loads: Loads) -> None:
    loads.broken = "two"
    keeper.family(KIND)
    with pytest.raises(UnknownModel, match="cheese"):
        keeper.family(replace(KIND, model="two"))
    assert keeper.loaded == ""
    keeper.family(KIND)
    with pytest.raises(UnknownModel, match="no model 'three'"):
        keeper.family(replace(KIND, model="three"))


def test_too_large_is_an_error_each_time(keeper: Keeper, loads: Loads) -> None:
    loads.huge = 99
    for _ in range(2):
        with pytest.raises(OutOfMemory):
            keeper.family(replace(KIND, width=99))
    keeper.family(KIND)


def test_a_precision_that_cannot_be_had_is_asked_for_once(
    keeper: Keeper, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = loads.load
    monkeypatch.setattr(loads, "load", lambda spec, precision: replace(usual(spec, precision), precision="gguf"))
    other = replace(KIND, precision="fp32")
    keeper.family(other)
    keeper.family(other)
    assert loads.done == ["+one fp32"]
