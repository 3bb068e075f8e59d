"""An engine of many simulated devices, which end their pictures at fixed moments: a late dispatcher shows as idle devices."""

from __future__ import annotations

import asyncio
import io
import itertools
import random
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

from PIL import Image as Pillow

from engine.contract import (
    CannotWrite,
    EngineLost,
    EngineState,
    Event,
    Image,
    Lane,
    LoraInfo,
    Phase,
    Profile,
    Recipe,
    Slot,
    Step,
)
from engine.families.z_image.spec import demo

STEPS = 8
"""Steps of a picture that are told."""

SIDE = 1024
"""Side of the pictures in pixels."""


def pictures(size: int, *, number: int = 8, seed: int = 1) -> tuple[bytes, ...]:
    """Return PNGs of SIDE x SIDE pixels with about ``size`` bytes each: random pixels on a gradient."""
    made = []
    side = min(SIDE, round((size / 3) ** 0.5))
    rng = random.Random(seed)
    for _ in range(number):
        picture = Pillow.linear_gradient("L").resize((SIDE, SIDE)).convert("RGB")
        noise = Pillow.frombytes("RGB", (side, side), rng.randbytes(side * side * 3))
        picture.paste(noise, ((SIDE - side) // 2, (SIDE - side) // 2))
        out = io.BytesIO()
        picture.save(out, "PNG", compress_level=1)
        made.append(out.getvalue())
    return tuple(made)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture that a device drew, in seconds of the loop's clock.

    Attributes:
        slot: Index of the device.
        begun: When the device began.
        ended: When it ended.
        idle: How long the device had nothing to do before; None for its first picture.
        recipe_id: The picture's recipe.
    """

    slot: int
    begun: float
    ended: float
    idle: float | None
    recipe_id: str

    def image(self, data: bytes) -> Image:
        """Return the picture; its device tells how long the device was idle before, in ms (-1: unknown)."""
        idle = -1.0 if self.idle is None else self.idle * 1000
        seconds = self.ended - self.begun
        return Image(
            self.recipe_id, data, width=SIDE, height=SIDE, seconds=seconds, device=f"simulated {self.slot} {idle:.3f}"
        )


class Devices:
    """Devices that take a fixed time for each picture: when each begins and ends what it is given.

    A device begins at once, or when it has ended what it was given before. It ends at that moment plus its time, whenever
    the program gets round to noticing.
    """

    def __init__(self, seconds: Sequence[float], *, stagger: bool = True) -> None:
        """Args:
        seconds: What a picture takes on each device.
        stagger: Whether the first pictures of the devices end at different moments, evenly spread.
        """
        self.seconds = tuple(seconds)
        self._free_at: list[float | None] = [None] * len(self.seconds)
        number = len(self.seconds)
        self._extra = [each * i / number if stagger else 0.0 for i, each in enumerate(self.seconds)]

    def begin(self, recipe_id: str, now: float, index: int | None = None) -> Drawn:
        """Have a device draw a picture from now on; without its index, the one that is free first."""
        if index is None:
            index = min(range(len(self._free_at)), key=lambda i: self._free_at[i] or 0.0)
        free_at = self._free_at[index]
        begun = now if free_at is None else max(now, free_at)
        ended = begun + self.seconds[index] + (self._extra[index] if free_at is None else 0.0)
        self._free_at[index] = ended
        return Drawn(index, begun, ended, None if free_at is None else begun - free_at, recipe_id)


class SimulatedSlots:
    """Devices that take a fixed time for each picture. Implements ``engine.contract.Engine``.

    ``drop`` gives the time of a picture to no other.

    Args:
        seconds: What a picture takes on each device.
        data: Files of the pictures, in turns.
        calls: How many calls each device wants open.
        steps: Steps that are told, 1 to STEPS.
        stagger: Whether the first pictures of the devices end at different moments, evenly spread.
    """

    def __init__(
        self,
        seconds: Sequence[float],
        data: Sequence[bytes],
        *,
        calls: int = 1,
        steps: int = STEPS,
        stagger: bool = True,
    ) -> None:
        self._devices = Devices(seconds, stagger=stagger)
        self._data = itertools.cycle(data)
        # As of a model of many devices: the demo's cards say what it knows.
        self._profile = replace(demo(), vocabulary=frozenset(), demo=False)
        self._steps = steps
        self._calls = calls
        self._begun, self._changed = asyncio.Event(), asyncio.Event()
        self._become(Phase.STARTING)
        self._index = {slot.id: i for i, slot in enumerate(self._slots)}
        self._dropped: set[str] = set()
        self._open: set[str] = set()
        self.drawn: list[Drawn] = []
        """Every picture that was begun, in order."""

    async def start(self) -> None:
        """Be ready from now on."""
        self._become(Phase.WARM)
        self._begun.set()
        self._changed.set()

    def _become(self, phase: Phase) -> None:
        name = self._profile.name
        self._state = EngineState(phase, model=name, device="simulated", resident=(name,))
        self._slots = tuple(Slot(f"simulated:{i}", self._state, self._calls) for i in range(len(self._devices.seconds)))

    async def aclose(self) -> None:
        """Nothing to free."""

    async def warm(self) -> None:
        """Return once it is ready."""
        await self._begun.wait()

    def profiles(self) -> tuple[Profile, ...]:
        """One, with the demo model's name and sizes."""
        return (self._profile,)

    def loras(self) -> tuple[LoraInfo, ...]:
        """None."""
        return ()

    def edit_model(self) -> str:
        """None."""
        return ""

    def slots(self) -> tuple[Slot, ...]:
        """Its devices."""
        return self._slots

    async def slots_changed(self) -> None:
        """Return when it has become ready."""
        await self._changed.wait()
        self._changed.clear()

    def batch(self, recipe: Recipe, slot: str = "") -> int:
        """One picture at a time."""
        return 1

    def state(self) -> EngineState:
        """Starting, or warm."""
        return self._state

    async def paint(
        self, recipes: Sequence[Recipe], lane: Lane = Lane.INTERACTIVE, slot: str = ""
    ) -> AsyncGenerator[Event]:
        """Draw recipes one after the other.

        Raises:
            EngineLost: There is no such slot.
        """
        if slot and slot not in self._index:
            raise EngineLost(f"There is no slot {slot!r}.")
        loop = asyncio.get_running_loop()
        index = self._index[slot] if slot else None
        ids = [recipe.id for recipe in recipes]
        self._open.update(ids)
        begun = [self._devices.begin(recipe.id, loop.time(), index) for recipe in recipes]
        self.drawn += begun
        try:
            for recipe, drawn in zip(recipes, begun, strict=True):
                for step in range(1, self._steps + 1):
                    moment = drawn.begun + (drawn.ended - drawn.begun) * step / self._steps
                    await asyncio.sleep(max(0.0, moment - loop.time()))
                    if recipe.id in self._dropped:
                        break
                    yield Step(recipe.id, step * STEPS // self._steps, STEPS)
                else:
                    self._open.discard(recipe.id)
                    yield drawn.image(next(self._data))
        finally:
            self._open.difference_update(ids)
            self._dropped.difference_update(ids)

    async def drop(self, recipe_id: str) -> None:
        """Tell nothing more of a recipe. Unknown ids are ignored."""
        if recipe_id in self._open:
            self._dropped.add(recipe_id)

    async def set_preview(self, recipe_id: str, *, enabled: bool) -> None:
        """There are no previews."""

    async def expand(self, model: str, prompt: str, *, seed: int = 0) -> str:
        """Raises CannotWrite."""
        raise CannotWrite("A simulated device writes nothing.")

    def can_describe(self) -> bool:
        """It can't."""
        return False

    async def describe(self, image: str) -> str:
        """Raises CannotWrite."""
        raise CannotWrite("A simulated device describes nothing.")
