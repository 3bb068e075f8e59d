"""Writes texts between the steps of pictures: a slice of tokens of the oldest one at a time."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch

from engine import expansion
from engine.contract import EngineError, OutOfMemory, TextTask
from engine.diffusion.device import BusyTimer, release
from engine.diffusion.errors import first_line, is_out_of_memory
from engine.families.family import Family
from engine.families.language_model import LanguageModel, decode, generate

SLICE_SECONDS = 0.1
"""Time that is spent on a text before pictures take a step again; at least one token is written."""

TEMPERATURE = 0.3
"""Low: the text stays with the prompt, and still differs from seed to seed."""

log = logging.getLogger(__name__)


class TextEncoders(Protocol):
    """What the writer needs of the model manager."""

    @property
    def resident(self) -> Collection[str]:
        """Names of the models on the device."""

    def resident_family(self, model: str) -> Family[Any] | None:
        """A model that is on the device; None if it is not there."""

    def load(self, model: str) -> Family[Any]:
        """Return a model, loaded if it is not on the device. Raises EngineError."""


class OwnModels(Protocol):
    """What the writer needs of the operator's models for texts."""

    @property
    def writes(self) -> bool:
        """Whether a model of its own writes longer prompts."""

    def writer(self) -> LanguageModel:
        """Return that model. Raises EngineError if it can't be loaded."""

    def describe(self, path: str, stopped: Callable[[], bool]) -> str:
        """Return what a picture shows. Raises EngineError."""


class TextHandler(Protocol):
    """Receives texts, and tells which are still wanted."""

    def is_active(self, ticket: int) -> bool:
        """Whether a request has not been dropped."""

    def on_text(self, ticket: int, text: str) -> None:
        """A text is written."""

    def on_failure(self, ticket: int, error: EngineError) -> None:
        """A text can't be written."""


class _Moved(Exception):
    """The model was unloaded while it wrote: the text begins again."""


@dataclass(slots=True, eq=False)
class _Text:
    """A text that is not written yet: its tokens so far, and those to come; None before the first one."""

    ticket: int
    task: TextTask
    tokens: list[int] = field(default_factory=list)
    rest: Iterator[int] | None = None
    decode: Callable[[list[int]], str] = str


class TextWriter:
    """Writes on the thread that calls ``step``.

    Args:
        encoders: The models that draw; the text encoder of some can write.
        own: The operator's models for texts.
        outputs: Receives texts and failures.
        device: Device whose memory is given back after a failure.
        busy_timer: Measures how long the device works.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        encoders: TextEncoders,
        own: OwnModels,
        outputs: TextHandler,
        device: torch.device,
        busy_timer: BusyTimer | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._encoders = encoders
        self._own = own
        self._outputs = outputs
        self._device = device
        self._busy_timer = busy_timer or BusyTimer()
        self._clock = clock
        self._open: list[_Text] = []

    def __len__(self) -> int:
        return len(self._open)

    def add(self, texts: Iterable[tuple[int, TextTask]]) -> None:
        """Take texts on. Each one that is not dropped ends in one call of ``on_text`` or ``on_failure``."""
        self._open += [_Text(ticket, task) for ticket, task in texts]

    def step(self, *, alone: bool) -> None:
        """Write a slice of the oldest text that can be written now.

        Args:
            alone: No picture is open. Otherwise no model is loaded for a text, since it might take the place of one that
                draws: the text waits.

        Raises:
            torch.AcceleratorError: The device is lost to this process, which must end.
        """
        self._open = [text for text in self._open if self._outputs.is_active(text.ticket)]
        text = next((text for text in self._open if alone or self._may_go_on(text)), None)
        if text is None:
            return
        failure: EngineError | None = None
        written: str | None = None
        try:
            with self._busy_timer.measure():
                written = self._slice(text)
        except torch.AcceleratorError:
            raise
        except _Moved:
            text.tokens, text.rest = [], None
            return
        except Exception as e:  # noqa: BLE001  # whatever a model raises ends a text, not the process
            failure = _failure(e)
        if failure is None and written is None:
            return
        self._open.remove(text)
        if written is not None:
            self._outputs.on_text(text.ticket, written)
        elif failure is not None:
            log.warning("A text can't be written: %s", failure)
            # Outside of the except block, which keeps the failed call's tensors alive.
            release(self._device)
            self._outputs.on_failure(text.ticket, failure)

    def _may_go_on(self, text: _Text) -> bool:
        return bool(text.task.image) or self._own.writes or text.task.model in self._encoders.resident

    def _slice(self, text: _Text) -> str | None:
        """Write for a while; return the text if it is complete."""
        task = text.task
        if task.image:
            found = self._own.describe(task.image, lambda: not self._outputs.is_active(text.ticket))
            return expansion.clean(found)
        if text.rest is None:
            self._begin(text)
        assert text.rest is not None
        until = self._clock() + SLICE_SECONDS
        for token in text.rest:
            text.tokens.append(token)
            if self._clock() >= until:
                return None
        whole = len(text.tokens) < expansion.MAX_TOKENS
        return expansion.clean(text.decode(text.tokens), whole=whole)

    def _begin(self, text: _Text) -> None:
        task = text.task
        get = self._own.writer if self._own.writes else self._encoder(task.model)
        model = get()
        text.decode = partial(decode, model.tokenizer)
        text.rest = generate(
            get,
            model.question(task.prompt),
            most=expansion.MAX_TOKENS,
            temperature=TEMPERATURE,
            seed=task.seed,
        )

    def _encoder(self, name: str) -> Callable[[], LanguageModel]:
        """Return what gets the text encoder of a model for each token; it raises _Moved once that was unloaded."""
        before = weakref.ref(self._encoders.load(name))

        def get() -> LanguageModel:
            now = self._encoders.resident_family(name)
            if now is None or now is not before():
                raise _Moved
            return now.language_model()

        return get


def _failure(error: Exception) -> EngineError:
    if isinstance(error, EngineError):
        return error
    if is_out_of_memory(error):
        return OutOfMemory("The device's memory is too short to write a text beside the pictures; try again later.")
    return EngineError(f"The text could not be written ({type(error).__name__}: {first_line(error)}).")
