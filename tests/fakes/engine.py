"""FakeEngine: implements the engine's contract without a device, for fast tests."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableSequence, Sequence
from dataclasses import dataclass, field, replace

from PIL import Image as Pillow

from engine import catalogue, lora_catalogue
from engine.contract import (
    BadImage,
    BadRecipe,
    CannotWrite,
    EngineError,
    EngineLost,
    EngineState,
    Event,
    Failed,
    Image,
    Lane,
    LoraInfo,
    Phase,
    Preview,
    Profile,
    PromptOnly,
    Recipe,
    Slot,
    Step,
    UnknownModel,
)
from engine.families.z_image.spec import demo

Pause = Callable[[], Awaitable[object]]
"""Awaited before each step: sets how long a step takes, or what it waits for."""


async def _at_once() -> None:
    await asyncio.sleep(0)


@dataclass(slots=True, eq=False)
class _Paint:
    """A paint that is being iterated over: its place in the queue, its open recipes, and why it was lost."""

    place: tuple[int, int]
    open: dict[int, Recipe]
    lost: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class FakeEngine:
    """Paints flat pictures whose colours come from prompt and seed. Implements ``engine.contract.Engine``.

    An initial image is blended with them by the recipe's strength; the middle of a variation is a blend of both seeds'
    colours. References are shown in a strip along the bottom, in their order.

    Args:
        profiles: Profiles that recipes may name; the demo model's by default, without its vocabulary and not called a demo: neither adds notes to cards.
        pause: Awaited before each step of each batch.
        fail: Called with each recipe; an error that it returns ends the recipe.
        auto_warm: ``start`` makes it warm at once; otherwise ``recover`` does.
        loras: LoRAs that recipes may name; each changes the middle's colour.
        edit_model: Name of the profile that serves edits when the default one can't.
        describes: Whether it describes pictures.
        plain: Whether it draws from a prompt alone.
    """

    def __init__(
        self,
        profiles: Sequence[Profile] | None = None,
        pause: Pause = _at_once,
        fail: Callable[[Recipe], EngineError | None] = lambda _: None,
        *,
        auto_warm: bool = True,
        loras: Sequence[LoraInfo] = (),
        edit_model: str = "",
        describes: bool = False,
        plain: bool = False,
    ) -> None:
        self._loras = tuple(sorted(loras, key=lambda lora: lora.name))
        profile = replace(demo(), vocabulary=frozenset(), demo=False)
        self._profiles = (profile,) if profiles is None else tuple(profiles)
        self._pause = pause
        self._fail = fail
        self._auto_warm = auto_warm
        self._edit_model = edit_model
        self._describes = describes
        self._plain = plain
        self._texts: set[asyncio.Future[None]] = set()
        self.texts: MutableSequence[str] = []
        """Every prompt or path of a picture that a text was asked for, in order."""
        self._numbers = itertools.count()
        self._paints: list[_Paint] = []
        self._error: EngineError | None = None
        self._moved = asyncio.Condition()
        self._changed = asyncio.Event()
        self._state = EngineState(Phase.STARTING, model=self._profiles[0].name, device="fake", precision="fp32")
        self.painted: MutableSequence[Recipe] = []
        """Every recipe that was begun, in order."""
        self.previewed: set[str] = set()
        """Recipes whose previews are wanted."""

    async def start(self) -> None:
        """Become warm, unless ``auto_warm`` is off."""
        if self._auto_warm:
            await self.recover()

    async def aclose(self) -> None:
        """Paints that are open raise EngineLost."""
        self._error = EngineLost("The engine was closed.")
        await self.lose(str(self._error))

    async def warm(self) -> None:
        """Return once the phase is WARM. Raises the EngineError of ``break_down``, or EngineLost once it is closed."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._state.phase is Phase.WARM or self._error is not None)
        if self._error is not None:
            raise self._error

    def profiles(self) -> tuple[Profile, ...]:
        """Profiles that recipes may name; the first is the default."""
        return self._profiles

    def loras(self) -> tuple[LoraInfo, ...]:
        """LoRAs that recipes may name."""
        return self._loras

    def edit_model(self) -> str:
        """Name of the profile that serves edits when the default one can't; empty for none."""
        return self._edit_model

    def slots(self) -> tuple[Slot, ...]:
        """One device that takes one paint at a time."""
        plain = frozenset(profile.name for profile in self._profiles) if self._plain else frozenset[str]()
        return (Slot("0", self._state, plain=plain),)

    async def slots_changed(self) -> None:
        """Return after the next change of the phase."""
        await self._changed.wait()
        self._changed.clear()

    def batch(self, recipe: Recipe, slot: str = "") -> int:
        """How many recipes of this size should be painted together."""
        return catalogue.batch(recipe)

    def state(self) -> EngineState:
        """What it is doing now."""
        return self._state

    async def lose(self, problem: str = "The device's process ended.") -> None:
        """Be lost, as when the device's process dies: open paints raise EngineLost. ``recover`` ends it."""
        await self._become(Phase.LOST, problem)
        for lost in (*(paint.lost for paint in self._paints), *self._texts):
            if not lost.done():
                lost.set_exception(EngineLost(problem))

    async def recover(self) -> None:
        """Be warm, for the first time or again."""
        restarts = self._state.restarts + (self._state.phase is Phase.LOST)
        self._state = replace(self._state, restarts=restarts)
        await self._become(Phase.WARM, "")

    def become_another(self, *, device: str = "fake", precision: str = "fp32", revision: str = "") -> None:
        """Draw as another machine would from now on: pictures carry this device, precision and revision."""
        self._state = replace(self._state, device=device, precision=precision, revision=revision)

    async def break_down(self, error: EngineError) -> None:
        """Be BROKEN: open and later recipes fail with this error."""
        self._error = error
        await self._become(Phase.BROKEN, str(error))

    async def paint(
        self, recipes: Sequence[Recipe], lane: Lane = Lane.INTERACTIVE, slot: str = ""
    ) -> AsyncGenerator[Event]:
        """See ``engine.contract.Engine.paint``.

        Raises:
            EngineLost: After ``lose`` or ``aclose``, or there is no such slot.
        """
        if slot not in {"", "0"}:
            raise EngineLost(f"There is no slot {slot!r}.")
        if isinstance(self._error, EngineLost):
            raise EngineLost(*self._error.args)
        number = next(self._numbers)
        place = (1 if lane is Lane.BULK else 0, number)
        paint = _Paint(place, dict(enumerate(recipes)))
        self._paints.append(paint)
        try:
            await self._or_lost(paint.lost, self._wait_turn(paint))
            for ticket, recipe in list(paint.open.items()):
                error = self._error or self._refusal(recipe)
                if error is not None and paint.open.pop(ticket, None) is not None:
                    yield Failed(recipe.id, error)
            self.painted.extend(paint.open.values())
            async for event in self._draw(paint):
                yield event
        finally:
            # A paint that is left may end in another task, so the queue moves on without waiting.
            self._paints.remove(paint)
            self.previewed.difference_update(recipe.id for recipe in recipes)
            if paint.lost.done():
                paint.lost.exception()
            async with self._moved:
                self._moved.notify_all()

    async def drop(self, recipe_id: str) -> None:
        """Take a recipe out; its paint yields no more events of it. Unknown ids are ignored."""
        for paint in self._paints:
            for ticket in [t for t, r in paint.open.items() if r.id == recipe_id]:
                del paint.open[ticket]
        async with self._moved:
            self._moved.notify_all()

    async def set_preview(self, recipe_id: str, *, enabled: bool) -> None:
        """Send a Preview of it after each step, or no longer. Unknown ids are ignored."""
        if not enabled:
            self.previewed.discard(recipe_id)
        elif any(recipe.id == recipe_id for paint in self._paints for recipe in paint.open.values()):
            self.previewed.add(recipe_id)

    async def expand(self, model: str, prompt: str, *, seed: int = 0) -> str:
        """Return the prompt with words that the seed chooses."""
        profile = next((profile for profile in self._profiles if profile.name == model), None)
        if profile is None:
            raise UnknownModel(f"There is no model {model!r} here.")
        if not profile.expands:
            raise CannotWrite("The text encoder can't write: set EASEL_TEXT_MODEL.")
        await self._write(prompt)
        digest = hashlib.sha256(f"{seed} {prompt}".encode()).digest()
        light, style = ("soft", "warm", "dim", "clear")[digest[0] % 4], ("painting", "photograph")[digest[1] % 2]
        return f"{prompt.strip()}, in {light} light, a detailed {style} number {digest[2]}"

    def can_describe(self) -> bool:
        """Whether it describes pictures."""
        return self._describes

    async def describe(self, image: str) -> str:
        """Return the size of the picture in words."""
        if not self._describes:
            raise CannotWrite("No model describes pictures: set EASEL_CAPTION_MODEL.")
        await self._write(image)
        try:
            with Pillow.open(image) as found:
                return f"a picture of {found.width} by {found.height} pixels"
        except OSError as error:
            raise BadImage(f"The picture can't be read: {error}") from error

    async def _write(self, about: str) -> None:
        """Wait until the engine is warm, and for a pause. Raises the error of a broken or lost engine."""
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._texts.add(lost)
        try:
            await self._or_lost(lost, self.warm())
            self.texts.append(about)
            await self._or_lost(lost, self._pause())
        finally:
            self._texts.discard(lost)
            if lost.done():
                lost.exception()

    async def _become(self, phase: Phase, problem: str) -> None:
        self._state = replace(self._state, phase=phase, problem=problem)
        self._changed.set()
        async with self._moved:
            self._moved.notify_all()

    async def _wait_turn(self, paint: _Paint) -> None:
        """Wait until the engine is warm and this paint is first in the queue, or until it is empty."""

        def mine() -> bool:
            return self._state.phase in (Phase.WARM, Phase.BROKEN) and min(p.place for p in self._paints) == paint.place

        async with self._moved:
            await self._moved.wait_for(lambda: not paint.open or mine())
            # A paint that draws is not overtaken any more.
            paint.place = (-1, paint.place[1])

    def _refusal(self, recipe: Recipe) -> EngineError | None:
        if recipe.model not in {p.name for p in self._profiles}:
            return UnknownModel(f"There is no model {recipe.model!r} here.")
        if any(0xD800 <= ord(c) <= 0xDFFF for c in recipe.prompt):
            return BadRecipe("The prompt is no text: it holds half a surrogate pair.")
        names = [lora.name for lora in self._loras]
        unknown = next((lora.name for lora in recipe.loras if lora.name not in names), None)
        if unknown is not None:
            return lora_catalogue.unknown_lora(unknown, names)
        if self._plain and not recipe.plain:
            return PromptOnly("The fake draws from a prompt alone.")
        known = next(p for p in self._profiles if p.name == recipe.model)
        if len(recipe.references) > known.references:
            return BadRecipe(f"{known.title} takes {known.references} reference pictures.")
        return self._fail(recipe)

    async def _draw(self, paint: _Paint) -> AsyncGenerator[Event]:
        steps = max((r.steps for r in paint.open.values()), default=0)
        for step in range(1, steps + 1):
            if not paint.open:
                return
            await self._or_lost(paint.lost, self._pause())
            for ticket, recipe in list(paint.open.items()):
                if ticket in paint.open and step <= recipe.steps:
                    yield Step(recipe.id, step, recipe.steps)
                    if recipe.id in self.previewed:
                        yield Preview(recipe.id, await asyncio.to_thread(_preview, recipe, step), "image/png")
        for ticket, recipe in list(paint.open.items()):
            made: Event
            try:
                data = await asyncio.to_thread(_encoded, recipe)
                state = self._state
                made = Image(
                    recipe.id,
                    data,
                    width=recipe.width,
                    height=recipe.height,
                    seconds=0.01,
                    precision=state.precision,
                    revision=state.revision,
                    device=state.device,
                    loras=tuple(
                        (lora.name, hashlib.sha256(lora.name.encode()).hexdigest()[:12]) for lora in recipe.loras
                    ),
                )
            except OSError as error:
                made = Failed(recipe.id, BadImage(f"A picture of the recipe can't be read: {error}"))
            if paint.open.pop(ticket, None) is not None:
                yield made

    async def _or_lost(self, lost: asyncio.Future[None], work: Awaitable[object]) -> None:
        """Wait for the work; raises EngineLost when the engine is lost."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait((task, lost), return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                await lost
            await task
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))


def _encoded(recipe: Recipe) -> bytes:
    return _png(_picture(recipe))


def _preview(recipe: Recipe, step: int) -> bytes:
    """Return the picture at an eighth of its sides, blended with gray by the steps that are left."""
    small = (max(1, recipe.width // 8), max(1, recipe.height // 8))
    plain = _flat(replace(recipe, image="", mask="")).resize(small)
    return _png(Pillow.blend(Pillow.new("RGB", small, "gray"), plain, step / recipe.steps))


def _picture(recipe: Recipe) -> Pillow.Image:
    """Return the flat picture, blended with its initial image. Raises OSError if that can't be read."""
    drawn = _flat(recipe)
    for index, path in enumerate(recipe.references):
        left, right = (drawn.width * i // len(recipe.references) for i in (index, index + 1))
        with Pillow.open(path) as found:
            drawn.paste(found.convert("RGB").resize((right - left, drawn.height // 4)), (left, drawn.height * 3 // 4))
    if not recipe.image:
        return drawn
    size = drawn.size
    with Pillow.open(recipe.image) as found:
        start = found.convert("RGB").resize(size)
    mixed = Pillow.blend(start, drawn, recipe.strength)
    if not recipe.mask:
        return mixed
    with Pillow.open(recipe.mask) as found:
        return Pillow.composite(mixed, start, found.convert("L").resize(size))


def _flat(recipe: Recipe) -> Pillow.Image:
    """Return an edge in a colour of the prompt, a middle in a colour of prompt and seeds."""
    loras = "".join(f" {lora.name}:{lora.weight}" for lora in recipe.loras)
    edge = hashlib.sha256(recipe.prompt.encode()).digest()
    one, other = (
        hashlib.sha256(f"{seed} {recipe.negative} {recipe.prompt}{loras}".encode()).digest()
        for seed in (recipe.seed, recipe.variation_seed)
    )
    red, green, blue = (round(a + (b - a) * recipe.variation) for a, b in zip(one[:3], other[:3], strict=True))
    picture = Pillow.new("RGB", (recipe.width, recipe.height), (edge[0], edge[1], edge[2]))
    box = (recipe.width // 4, recipe.height // 4, recipe.width * 3 // 4, recipe.height * 3 // 4)
    picture.paste((red, green, blue), box)
    return picture


def _png(picture: Pillow.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
