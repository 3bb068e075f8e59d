"""A recipe that is on a ComfyUI server as a prompt: what the server's messages say of it, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from engine.comfy import messages
from engine.comfy.calls import OpenRecipe
from engine.contract import BadRecipe, EngineError, OutOfMemory, Recipe, Step

FILES = 4
"""Most pictures of a prompt that are noted."""

_ROUNDING = 1e-6


@dataclass(slots=True, eq=False)
class Prompt:
    """A recipe that is on the server.

    Attributes:
        id: Its prompt's id there.
        work: The recipe, with its call.
        heard: When the server last said something of it, in monotonic seconds.
        begun: When the server began it, in monotonic seconds; None before that.
        seconds: How long the server drew; 0 before its end.
        step: Steps that were told.
        files: Pictures that its output nodes have written, ``FILES`` at most.
        end: How it ended; None before that.
        over: Whether its entry is in the server's history.
    """

    id: str
    work: OpenRecipe
    heard: float
    begun: float | None = None
    seconds: float = 0.0
    step: int = 0
    files: list[messages.OutputFile] = field(default_factory=list)
    end: messages.Succeeded | messages.Erred | messages.Interrupted | None = None
    over: bool = False

    @property
    def recipe(self) -> Recipe:
        """The recipe."""
        return self.work.recipe

    def take(self, message: messages.Message) -> None:
        """Note what the server says of it. What it says of other prompts is not for Easel."""
        if message.prompt != self.id or self.over:
            return
        self.heard = time.monotonic()
        if self.begun is None:
            self.begun = self.heard
        match message:
            case messages.Progress(share=share):
                self.tell_step(int(share * self.recipe.steps + _ROUNDING))
            case messages.Executed(files=files):
                self.files += [file for file in files if file not in self.files]
                del self.files[FILES:]
            case messages.Succeeded() | messages.Erred() | messages.Interrupted():
                self.end = message
                self.seconds = self.heard - self.begun
            case messages.Ended():
                self.over = True
                self.seconds = self.seconds or self.heard - self.begun
        self.work.changed.set()

    def complete(self, entry: Iterable[messages.Message]) -> None:
        """Add what its messages left out, from its entry in the history, after its end."""
        for message in entry:
            if isinstance(message, messages.Executed):
                self.files += message.files[:FILES]
            elif not isinstance(message, messages.Ended | messages.Started | messages.Progress):
                self.end = message

    def tell_step(self, step: int) -> None:
        """Tell the call that a step is done, if it is a new one; the first one is always told."""
        if step > self.step:
            if self.step == 0 and step > 1:
                self.work.tell(Step(self.recipe.id, 1, self.recipe.steps))
            self.work.tell(Step(self.recipe.id, step, self.recipe.steps))
            self.step = step

    def check_end(self) -> None:
        """Do nothing if it has ended well.

        Raises:
            OutOfMemory: The memory of the server's device was short.
            BadRecipe: A node failed.
            EngineError: Somebody has stopped or deleted it.
        """
        match self.end:
            case messages.Erred() as end if end.out_of_memory:
                raise OutOfMemory(f"The picture does not fit the memory of the ComfyUI server ({end.reason}).")
            case messages.Erred(kind=kind, reason=reason):
                raise BadRecipe(f"The ComfyUI server could not draw it: {kind} {reason}".rstrip())
            case messages.Interrupted():
                raise EngineError("Somebody has stopped or deleted it on the ComfyUI server.")
