"""Texts between the steps of pictures: slices, waiting, models that go away, failures."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
import torch
import transformers

from engine.contract import CannotWrite, EngineError, OutOfMemory, TextTask, UnknownModel
from engine.diffusion.text_writer import SLICE_SECONDS, TextWriter
from engine.families.family import Family
from engine.families.language_model import LanguageModel
from tests.fakes import text_models

CPU = torch.device("cpu")
TASK = TextTask("small", "a cat", seed=3)


@dataclass
class Drawing:
    """A model that draws, whose text encoder writes."""

    model: LanguageModel

    def language_model(self) -> LanguageModel:
        return self.model


@dataclass
class Rig:
    """What the writer uses. It also is the operator's own models, and receives the texts."""

    model: LanguageModel
    here: dict[str, Drawing] = field(default_factory=dict)
    loads: list[str] = field(default_factory=list)
    texts: dict[int, str] = field(default_factory=dict)
    failures: dict[int, EngineError] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)
    error: Exception | None = None
    writes: bool = False
    now: float = 0.0
    each: float = 0.0

    def __post_init__(self) -> None:
        self.writing = TextWriter(self, self, self, CPU, clock=self.clock)

    def clock(self) -> float:
        self.now += self.each
        return self.now

    @property
    def resident(self) -> list[str]:
        return list(self.here)

    def resident_family(self, model: str) -> Family[Any] | None:
        return cast("Family[Any] | None", self.here.get(model))

    def load(self, model: str) -> Family[Any]:
        if self.error is not None:
            raise self.error
        if model not in self.here:
            self.loads.append(model)
            self.here[model] = Drawing(self.model)
        return cast("Family[Any]", self.here[model])

    def writer(self) -> LanguageModel:
        return self.model

    def describe(self, path: str, stopped: Callable[[], bool]) -> str:
        return f"<b>the picture</b> {path}, {stopped()}"

    def is_active(self, ticket: int) -> bool:
        return ticket not in self.dropped

    def on_text(self, ticket: int, text: str) -> None:
        self.texts[ticket] = text

    def on_failure(self, ticket: int, error: EngineError) -> None:
        self.failures[ticket] = error

    def run(self, *, alone: bool = True, most: int = 1000) -> int:
        """Take steps until nothing is open; return how many."""
        for count in range(most):
            if not len(self.writing):
                return count
            self.writing.step(alone=alone)
        return most


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = text_models.writer(tmp_path_factory.mktemp("writer"))
    module = transformers.AutoModelForCausalLM.from_pretrained(folder)
    return LanguageModel(module, transformers.AutoTokenizer.from_pretrained(folder), CPU)


@pytest.fixture
def rig(model: LanguageModel) -> Rig:
    return Rig(model)


def test_slices_do_not_change_the_text(rig: Rig, model: LanguageModel) -> None:
    rig.writing.add([(1, TASK)])
    assert rig.run() == 1
    sliced = Rig(model, each=SLICE_SECONDS)
    sliced.writing.add([(1, TASK)])
    assert sliced.run() > 20
    assert sliced.texts == rig.texts
    assert rig.texts[1]


def test_no_model_is_loaded_while_pictures_of_another_are_open(rig: Rig) -> None:
    rig.writing.add([(1, TASK), (2, TextTask("other", "a dog")), (3, TextTask(image="a.png"))])
    rig.here["other"] = Drawing(rig.model)
    rig.run(alone=False, most=3)
    assert rig.texts.keys() == {2, 3}
    assert rig.texts[3] == "bthe picture/b a.png, False"
    assert not rig.loads
    rig.run()
    assert rig.loads == ["small"]
    assert rig.texts.keys() == {1, 2, 3}


def test_a_model_of_its_own_waits_for_nothing(rig: Rig) -> None:
    rig.writes = True
    rig.writing.add([(1, TASK)])
    rig.run(alone=False)
    assert rig.texts.keys() == {1}
    assert not rig.loads


def test_a_text_begins_again_when_its_model_was_unloaded(rig: Rig, model: LanguageModel) -> None:
    rig.writing.add([(1, TASK)])
    rig.run()
    moved = Rig(model, each=SLICE_SECONDS)
    moved.writing.add([(1, TASK)])
    moved.run(most=5)
    moved.here.clear()
    moved.run()
    assert moved.loads == ["small", "small"]
    assert moved.texts == rig.texts


def test_a_text_that_waits_keeps_no_model_that_was_unloaded(model: LanguageModel) -> None:
    rig = Rig(replace(model, module=copy.deepcopy(model.module)), each=SLICE_SECONDS)
    weights = weakref.ref(rig.model.module)
    rig.writing.add([(1, TASK)])
    rig.run(most=3)
    rig.model = model
    rig.here.clear()
    gc.collect()
    assert weights() is None
    rig.run()
    assert rig.texts.keys() == {1}


def test_a_dropped_text_ends_in_nothing(model: LanguageModel) -> None:
    rig = Rig(model, each=SLICE_SECONDS)
    rig.writing.add([(1, TASK), (2, TASK)])
    rig.run(most=3)
    rig.dropped.add(1)
    rig.run()
    assert rig.texts.keys() == {2}
    assert not rig.failures


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UnknownModel("There is none."), UnknownModel),
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemory),
        (ValueError("a\nb"), EngineError),
    ],
)
def test_a_failure_ends_its_text_alone(rig: Rig, error: Exception, kind: type[EngineError]) -> None:
    rig.error = error
    rig.writing.add([(1, TASK), (2, TextTask(image="a.png"))])
    rig.run()
    assert type(rig.failures[1]) is kind
    assert rig.texts.keys() == {2}


def test_an_answer_of_nothing_is_a_failure(rig: Rig) -> None:
    rig.here["small"] = Drawing(LanguageModel(rig.model.module, _Silent(rig.model.tokenizer), CPU))
    rig.writing.add([(1, TASK)])
    rig.run()
    assert isinstance(rig.failures[1], CannotWrite)


class _Silent:
    """A tokenizer whose texts are empty."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, *args: Any, **more: Any) -> Any:
        return self._tokenizer(*args, **more)

    def decode(self, *_: Any, **__: Any) -> str:
        return ""
