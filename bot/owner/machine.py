"""Models, memory, disk and device for an owner, and the overview of how the service stands."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.access.store import newcomers as access_rows
from bot.context import AppContext
from bot.core.access import guarded
from bot.core.errors import NotAllowed
from bot.core.jobs import ServiceState
from bot.core.people import Actor
from bot.core.ports import SlotReport
from bot.core.preferences import RIGHTS
from bot.moderation import store as moderation_rows
from bot.owner import store
from bot.owner.people import everywhere
from bot.owner.ports import Library, MachineFacts, Surroundings
from bot.owner.store import ModelSpeed, PlaceRetention, StoredPictures
from bot.privacy import deletion
from bot.storage import data_files, inputs, people
from engine.contract import Engine, EngineState, LoraInfo, Profile

SUM_SECONDS = 300.0
"""Seconds for which the sum of all pictures is kept: it reads every row."""


@dataclass(frozen=True, slots=True)
class Overview:
    """How the service stands.

    Attributes:
        version: Easel's version.
        state: What it does.
        engine: The engine's state.
        waiting: Requests that wait to be begun.
        drawing: Requests that are drawn.
        newcomers: Newcomers that wait for an answer.
        reports: Reports without an answer.
        problems: Why it is not ready, in English sentences.
    """

    version: str
    state: ServiceState
    engine: EngineState
    waiting: int
    drawing: int
    newcomers: int
    reports: int
    problems: Sequence[str]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that people can choose now.

    Attributes:
        name: Its name.
        title: Its proper name.
        family: Its family.
        who: Who may use it, by the operator's file: ``everyone``, ``admins``, and ids of roles.
        narrowed: Who may use it in places that allow fewer, by the place's name.
    """

    name: str
    title: str
    family: str
    who: Sequence[str]
    narrowed: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class ModelsView:
    """Models and LoRAs.

    Attributes:
        library: The models on the disk.
        served: The models that people can choose now; the first is the default.
        loras: The LoRAs that requests may name.
        edit_model: Name of the model that serves edits when the default one can't; empty for none.
    """

    library: Library
    served: Sequence[ServedModel]
    loras: Sequence[ServedModel]
    edit_model: str


@dataclass(frozen=True, slots=True)
class DiskView:
    """The disk; sizes in bytes.

    Attributes:
        folder: The data folder.
        total: Size of its file system.
        free: What is free of it.
        keep_free: Percentage that is kept free by removing old pictures; 0: off.
        pictures: The stored pictures.
        database: Size of the database, with what is not yet merged into it.
        models: What the models take.
        days: For how long pictures are kept, in days; None is for good.
        places: The retention that places have set.
    """

    folder: str
    total: int
    free: int
    keep_free: float
    pictures: StoredPictures
    database: int
    models: int
    days: float | None
    places: Sequence[PlaceRetention]


@dataclass(frozen=True, slots=True)
class DeviceView:
    """The devices and the machine.

    Attributes:
        engine: The engine's state, all slots together.
        slots: Its slots, one for each device, and what each of them draws.
        machine: What the system tells.
        speeds: How fast models drew lately.
    """

    engine: EngineState
    slots: Sequence[SlotReport]
    machine: MachineFacts
    speeds: Sequence[ModelSpeed]


class MachineView:
    """Looks at models, disk and device. Sums over all pictures are kept for SUM_SECONDS."""

    def __init__(self, engine: Engine, surroundings: Surroundings) -> None:
        """Args:
        engine: The engine.
        surroundings: What the composition root knows.
        """
        self._engine = engine
        self._around = surroundings
        self._stored = StoredPictures(0, 0, None)
        self._summed_at: float | None = None

    async def overview(self, ctx: AppContext, problems: Sequence[str]) -> Overview:
        """Return how the service stands."""
        async with ctx.db.read() as tx:
            state = await people.get_service_state(tx)
            newcomers = await access_rows.count_open(tx, guarded(ctx.access_modes))
            reports = await moderation_rows.count_reports(tx)
        load = ctx.backlog.load()
        return Overview(
            self._around.version,
            state,
            self._engine.state(),
            load.waiting,
            load.drawing,
            newcomers,
            reports,
            tuple(problems),
        )

    async def models(self, ctx: AppContext, locale: str) -> ModelsView:
        """Return the models and LoRAs, and who may use them."""
        async with ctx.db.read() as tx:
            places = await store.places(tx)
            found = {place.name or place.guild: await people.get_option(tx, place.id, RIGHTS) for place in places}
        return ModelsView(
            await self._around.library.read(locale),
            [_served("model", profile, profile.family, found) for profile in ctx.profiles()],
            [_served("lora", lora, lora.family, found) for lora in ctx.loras()],
            ctx.edit_model,
        )

    async def pull(self, name: str) -> None:
        """See ``ModelLibrary.pull``."""
        await self._around.library.pull(name.strip())

    async def stop_pull(self) -> None:
        """See ``ModelLibrary.stop_pull``."""
        await self._around.library.stop_pull()

    async def remove_model(self, ctx: AppContext, name: str) -> int:
        """Remove a model's files. Raises NotFound, and NotAllowed while it is served."""
        if any(name == profile.name for profile in ctx.profiles()):
            raise NotAllowed("refusal.models.served", name=name)
        return await self._around.library.remove(name)

    async def disk(self, ctx: AppContext) -> DiskView:
        """Return what takes room on the disk."""
        folder = inputs.data_folder(ctx.pictures)
        total, free = await data_files.disk_usage(folder)
        now = ctx.clock.monotonic()
        async with ctx.db.read() as tx:
            if self._summed_at is None or now - self._summed_at > SUM_SECONDS:
                self._stored, self._summed_at = await store.stored_pictures(tx), now
            places = await store.retention(tx, deletion.DAYS)
        library = await self._around.library.read("en")
        everywhere_days = next((one.days for one in places if not one.guild), None)
        return DiskView(
            str(folder.absolute()),
            total,
            free,
            self._around.keep_free,
            self._stored,
            await asyncio.to_thread(_size, folder),
            sum(model.bytes for model in library.models),
            everywhere_days,
            [one for one in places if one.guild],
        )

    async def keep(self, ctx: AppContext, actor: Actor, span: str) -> None:
        """Set for how long pictures are kept everywhere; places can only keep them for less. Raises BadInput."""
        await deletion.set_retention(ctx, actor, everywhere(actor), span)

    async def device(self, ctx: AppContext) -> DeviceView:
        """Return the devices and the machine."""
        async with ctx.db.read() as tx:
            speeds = await store.speeds(tx)
        return DeviceView(self._engine.state(), ctx.backlog.slots(), await self._around.machine.facts(), speeds)


def _served(kind: str, one: Profile | LoraInfo, family: str, rights: Mapping[str, object]) -> ServedModel:
    key = f"{kind}:{one.name}"
    narrowed = {
        place: [str(who) for who in found[key]]
        for place, found in rights.items()
        if isinstance(found, dict) and isinstance(found.get(key), list)
    }
    return ServedModel(one.name, one.title, family, one.who, narrowed)


def _size(folder: Path) -> int:
    """Return the bytes of the database and its log; blocking."""
    total = 0
    for path in folder.glob("easel.db*"):
        try:
            total += path.stat().st_size
        except OSError:
            continue  # merged meanwhile
    return total
