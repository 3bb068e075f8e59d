"""A Discord on loopback: REST and gateway for the real client, and people who type, press and look."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

from aiohttp import web
from discord.gateway import DiscordWebSocket
from discord.http import Route

from adapters.discord import surface
from adapters.discord.surface import ABILITIES
from tests.fakes.discord_gateway import Gateway
from tests.fakes.discord_rest import COMPONENT, FORM, WINDOW, Rest
from tests.fakes.discord_world import (
    FORUM,
    MANAGE_GUILD,
    PUBLIC_THREAD,
    Attachment,
    Channel,
    Interaction,
    Message,
    User,
    World,
)

TOKEN = "MTA.stand-in.token"
COMMAND = 2
STRING, INTEGER, BOOLEAN, USER, CHANNEL, ROLE, NUMBER, ATTACHMENT = 3, 4, 5, 6, 7, 8, 10, 11
TYPES: Mapping[int, tuple[type, ...]] = {
    STRING: (str,),
    INTEGER: (int,),
    BOOLEAN: (bool,),
    NUMBER: (float, int),
    USER: (str,),
    CHANNEL: (str,),
    ROLE: (str,),
    ATTACHMENT: (str,),
}


class Asked:
    """An interaction of a person, and its answer."""

    def __init__(self, world: World, interaction: Interaction) -> None:
        self._world = world
        self.interaction = interaction

    async def answer(self, seconds: float = 15.0) -> Message:
        """Wait for the answer that can be read (no longer "is thinking"); a message that was removed does not count."""

        def shown() -> bool:
            return self._shown() is not None

        await self._world.until(shown, "an answer to the interaction", seconds)
        found = self._shown()
        assert found is not None
        return found

    async def acknowledged(self, seconds: float = 15.0) -> Interaction:
        """Wait until the bot has made its first response."""
        await self._world.until(lambda: self.interaction.response is not None, "a first response", seconds)
        return self.interaction

    def _shown(self) -> Message | None:
        messages = (self.interaction.original, *self.interaction.followups)
        ready = [m for m in messages if m is not None and not m.deleted and not m.loading]
        return ready[-1] if ready else None


class Person:
    """A person at the client: offers only what Discord allows."""

    def __init__(self, fake: FakeDiscord, user: User) -> None:
        self._fake = fake
        self.user = user

    async def run(
        self,
        command: str,
        *,
        channel: Channel | None = None,
        strict: bool = True,
        into: Channel | None = None,
        **options: Any,
    ) -> Asked:
        """Type a slash command, such as ``run("quota set", rule="20/day")``.

        Args:
            command: Name, and name of the subcommand.
            channel: Where; the server's channel otherwise.
            strict: Keep to ranges, as the real client does before it sends.
            into: The option ``channel``, which is where it is typed otherwise.
            options: By their names.
        """
        if into is not None:
            options["channel"] = str(into.id)
        world, (name, _, sub) = self._fake.world, command.partition(" ")
        known = next((c for c in world.commands if c["name"] == name), None)
        assert known is not None, f"/{name} is not among {[c['name'] for c in world.commands]}"
        where = channel or self._fake.channel
        context = 0 if where.guild_id is not None else 1 if where.bot_access else 2
        assert context in (known.get("contexts") or [0, 1, 2]), f"/{name} is not offered in context {context}"
        offered = known
        if sub:
            offered = next(o for o in known["options"] if o["name"] == sub)
        values = [self._value(offered, n, v, strict=strict) for n, v in options.items() if v is not None]
        missing = [o["name"] for o in offered["options"] if o.get("required") and o["name"] not in options]
        assert not missing, f"/{command} needs {missing}"
        data = {"id": known["id"], "name": name, "type": 1, "options": values}
        if sub:
            data["options"] = [{"name": sub, "type": 1, "options": values}]
        if resolved := self._resolved(values):
            data["resolved"] = resolved
        return await self._begin(COMMAND, where, data)

    async def draw(self, prompt: str, *, channel: Channel | None = None, strict: bool = True, **options: Any) -> Asked:
        """Type /draw."""
        return await self.run("draw", channel=channel, strict=strict, prompt=prompt, **options)

    async def suggest(self, command: str, option: str, typed: str) -> list[dict[str, Any]]:
        """Begin to type an option; returns what the bot suggests."""
        known = next(c for c in self._fake.world.commands if c["name"] == command)
        offered = next(o for o in known["options"] if o["name"] == option)
        assert offered.get("autocomplete"), f"{option} has no suggestions"
        value = {"name": option, "type": offered["type"], "value": typed, "focused": True}
        data = {"id": known["id"], "name": command, "type": 1, "options": [value]}
        asked = await self._begin(4, self._fake.channel, data)
        return (await asked.acknowledged()).choices

    async def pick(self, entry: str, target: Message | Person) -> Asked:
        """Choose an entry of the menu of a message or of a person."""
        world = self._fake.world
        known = next(c for c in world.commands if c["name"] == entry and c["type"] != 1)
        assert known["type"] == (2 if isinstance(target, Person) else 3)
        data: dict[str, Any] = {"id": known["id"], "name": entry, "type": known["type"]}
        if isinstance(target, Person):
            data["target_id"] = str(target.user.id)
            data["resolved"] = {"users": {data["target_id"]: target.user.payload()}}
        else:
            data["target_id"] = str(target.id)
            data["resolved"] = {"messages": {data["target_id"]: world.message_payload(target)}}
        return await self._begin(COMMAND, self._fake.channel, data)

    def uploads(self, data: bytes, name: str = "photo.png", mime: str | None = None) -> str:
        """Upload a file for an option of a command; returns its id."""
        made = Attachment(self._fake.world.snowflake(), name, data, None, mime)
        self._fake.world.files[made.id] = made
        return str(made.id)

    def writes(self, text: str, *files: Attachment, embeds: Sequence[dict[str, Any]] = ()) -> Message:
        """Write a message of one's own, which the bot does not hear of."""
        world = self._fake.world
        made = Message(world.snowflake(), self._fake.channel, text, list(embeds), attachments=list(files))
        made.author = self.user
        world.messages[made.id] = made
        return made

    async def press(self, message: Message, label: str) -> Asked:
        """Press the button that reads ``label`` (or has it in its custom id), on a message that they see."""
        assert message in self.sees(message.channel), "the message is not there for them"
        hits = [c for c, text in message.buttons.items() if label in (text, c)]
        assert hits, f"no button {label!r} among {message.buttons}"
        return await self.send_press(message, hits[0])

    async def send_press(self, message: Message, custom_id: str) -> Asked:
        """Send a press whatever the message shows, as a forged client could."""
        data = {"custom_id": custom_id, "component_type": 2, "id": 1}
        return await self._begin(COMPONENT, message.channel, data, message)

    async def submit(self, custom_id: str, message: Message | None = None, **values: str) -> Asked:
        """Send a form as it was opened some time ago, or as a forged client could."""
        parts = [{"type": 4, "id": 1, "custom_id": name, "value": value} for name, value in values.items()]
        components = [{"type": 18, "id": 2, "component": part} for part in parts]
        where = self._fake.channel if message is None else message.channel
        return await self._begin(FORM, where, {"custom_id": custom_id, "components": components}, message)

    async def fill(self, asked: Asked, **values: str) -> Asked:
        """Change values of the form that answered a press, by the fields' names, and send it."""
        modal = (await asked.acknowledged()).modal
        assert modal, "no form was opened"
        parts = []
        for label in modal["components"]:
            field = label["component"]
            if field["type"] == 3:
                chosen = [one["value"] for one in field["options"] if one.get("default")]
                name = field["custom_id"]
                picked = [values.pop(name)] if name in values else chosen
                assert set(picked) <= {one["value"] for one in field["options"]}, "the client offers no such choice"
                answer = {"type": 3, "id": 1, "custom_id": name, "values": picked}
            else:
                value = values.pop(field["custom_id"], field.get("value") or "")
                assert len(value) <= field.get("max_length", 4000), "the client takes no text that long"
                assert value or not field.get("required", True), "the client asks for a value"
                answer = {"type": 4, "id": 1, "custom_id": field["custom_id"], "value": value}
            parts.append({"type": 18, "id": 2, "component": answer})
        assert not values, f"no fields {sorted(values)}"
        message = asked.interaction.message
        data = {"custom_id": modal["custom_id"], "components": parts}
        return await self._begin(FORM, asked.interaction.channel, data, message)

    def sees(self, channel: Channel | None = None) -> list[Message]:
        """Return the messages that they see in a channel, oldest first."""
        where = channel or self._fake.channel
        messages = sorted(self._fake.world.messages.values(), key=lambda m: m.id)
        shown = [m for m in messages if m.channel is where and not m.deleted]
        return [m for m in shown if m.only_for in (None, self.user)]

    def direct_messages(self) -> list[Message]:
        """Return the direct messages of the bot to them."""
        return self.sees(self._fake.world.direct(self.user))

    async def _begin(self, kind: int, channel: Channel, data: dict[str, Any], message: Message | None = None) -> Asked:
        world = self._fake.world
        interaction = world.begin(kind, self.user, channel, message)
        await self._fake.gateway.dispatch("INTERACTION_CREATE", world.interaction_payload(interaction, data))
        return Asked(world, interaction)

    def _value(self, offered: Mapping[str, Any], name: str, value: Any, *, strict: bool) -> dict[str, Any]:
        option = next((o for o in offered["options"] if o["name"] == name), None)
        assert option is not None, f"no option {name} among {[o['name'] for o in offered['options']]}"
        assert isinstance(value, TYPES[option["type"]]), f"{name} takes type {option['type']}"
        if strict:
            assert value >= option.get("min_value", value), (
                f"the client takes no {name} below {option.get('min_value')}"
            )
            assert value <= option.get("max_value", value), (
                f"the client takes no {name} above {option.get('max_value')}"
            )
            choices = [c["value"] for c in option.get("choices") or []]
            assert not choices or value in choices, f"the client offers {choices} for {name}"
        if isinstance(value, str):
            assert len(value) <= option.get("max_length", 6000), f"the client takes no {name} that long"
        return {"name": name, "type": option["type"], "value": value}

    def _resolved(self, values: list[dict[str, Any]]) -> dict[str, Any]:
        """What Discord says of the roles, people and channels that were picked."""
        world = self._fake.world
        found: dict[str, Any] = {}
        for value in values:
            picked = value["value"]
            if value["type"] == ROLE:
                found.setdefault("roles", {})[picked] = self._role(picked)
            elif value["type"] == USER:
                found.setdefault("users", {})[picked] = world.users[int(picked)].payload()
            elif value["type"] == ATTACHMENT:
                found.setdefault("attachments", {})[picked] = world.attachment_payload(world.files[int(picked)])
            elif value["type"] == CHANNEL:
                shown = world.channels[int(picked)].payload()
                keep = ("id", "name", "type", "flags", "parent_id", "thread_metadata", "owner_id", "message_count")
                partial = {k: shown[k] for k in keep if k in shown} | {"permissions": "0"}
                found.setdefault("channels", {})[picked] = partial
        return found

    def _role(self, role_id: str) -> dict[str, Any]:
        colours = {"primary_color": 0, "secondary_color": None, "tertiary_color": None}
        known = {"id": role_id, "name": "Painters", "color": 0, "colors": colours, "hoist": False, "position": 1}
        return known | {"permissions": "0", "managed": False, "mentionable": False, "flags": 0}


class FakeDiscord:
    """Starts on a free port of the loopback; an async context manager.

    Attributes:
        world: The users, channels and messages, and the bot's mistakes.
        channel: The server's channel where people talk.
        rest: Paths, limits and faults to plant.
        gateway: Connections, to drop and to refuse.
    """

    def __init__(self, clock: Callable[[], float] = time.time, token: str = TOKEN) -> None:
        self.token = token
        self.world = World(clock)
        self.channel = self.world.channel("drawings")
        self.rest = Rest(self.world, token, lambda: self.gateway_url)
        self.gateway = Gateway(self.world, token, lambda: self.gateway_url)
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def api_url(self) -> str:
        """Value for EASEL_DISCORD_API_URL."""
        return f"http://127.0.0.1:{self._port}/api/v10"

    @property
    def gateway_url(self) -> str:
        """Value for EASEL_DISCORD_GATEWAY_URL."""
        return f"ws://127.0.0.1:{self._port}/gateway"

    @property
    def env(self) -> dict[str, str]:
        """The settings that connect the service to the stand-in."""
        return {
            "EASEL_DISCORD_TOKEN": self.token,
            "EASEL_DISCORD_API_URL": self.api_url,
            "EASEL_DISCORD_GATEWAY_URL": self.gateway_url,
            "EASEL_DISCORD_ACCESS": "open",
        }

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.add_routes([*self.rest.routes(), web.get("/gateway", self.gateway.serve)])
        self._runner = web.AppRunner(app, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.world.cdn = f"http://127.0.0.1:{self._port}/cdn"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.gateway.close()
        assert self._runner is not None
        await self._runner.cleanup()

    def person(
        self,
        name: str,
        *,
        locale: str = "en-US",
        manages: bool = False,
        roles: tuple[int, ...] = (),
        takes_dms: bool = True,
    ) -> Person:
        """Somebody joins; ``manages``: may manage the server."""
        permissions = MANAGE_GUILD if manages else 0
        user = User(self.world.snowflake(), name, locale, permissions, roles, takes_dms=takes_dms)
        self.world.users[user.id] = user
        return Person(self, user)

    def thread(self, name: str) -> Channel:
        """Make a thread in the server's channel."""
        return self.world.channel(name, type=PUBLIC_THREAD, parent_id=self.channel.id)

    def post(self, name: str) -> Channel:
        """Make a post in a forum of the server: a thread whose parent takes no messages."""
        forum = self.world.channel("forum", type=FORUM)
        return self.world.channel(name, type=PUBLIC_THREAD, parent_id=forum.id)

    def remove(self, channel: Channel) -> None:
        """Delete a channel, as a moderator would."""
        del self.world.channels[channel.id]

    def foreign(self) -> Channel:
        """A channel of a server that the bot is not in; it can be used there through one's own installation."""
        made = Channel(
            self.world.snowflake(), "theirs", guild_id=self.world.snowflake(), bot_access=False, installed=False
        )
        self.world.channels[made.id] = made
        return made

    def elsewhere(self, user: User) -> Channel:
        """A conversation that the bot is not in, where somebody uses it through their own installation."""
        made = Channel(self.world.snowflake(), "private", type=1, bot_access=False, recipient=user)
        self.world.channels[made.id] = made
        return made

    def delete(self, message: Message) -> None:
        """Delete a message, as a person would."""
        message.deleted = True

    def expire_tokens(self) -> None:
        """Expire the tokens of all interactions so far, as after fifteen minutes."""
        for interaction in self.world.interactions.values():
            interaction.expired = True

    async def connected(self, seconds: float = 30.0) -> None:
        """Wait until the bot listens and has offered its commands."""
        ready = self.world.until(lambda: self.gateway.connected and bool(self.world.commands), "the bot", seconds)
        await ready


@contextmanager
def endpoints() -> Iterator[None]:
    """Restore discord.py's addresses at the end: it keeps them for the whole process."""
    base, gateway = Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY
    try:
        yield
    finally:
        Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = base, gateway


@asynccontextmanager
async def strict() -> AsyncIterator[FakeDiscord]:
    """A Discord; at its end nothing may have been sent that the real one would refuse.

    The adapter's pause between edits is that of the stand-in's window, which is shorter than Discord's.
    """
    pause = ABILITIES.edit_every * WINDOW / 5
    with endpoints(), patch.object(surface, "ABILITIES", replace(ABILITIES, edit_every=pause)):
        async with FakeDiscord() as one:
            yield one
        assert one.world.problems == []
