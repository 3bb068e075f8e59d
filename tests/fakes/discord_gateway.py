"""The stand-in's gateway: hello, identify, heartbeats, dispatch, dropped connections and resuming."""

from __future__ import annotations

import contextlib
import json
import secrets
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from tests.fakes.discord_world import DM, World

DISPATCH, HEARTBEAT, IDENTIFY, PRESENCE, RESUME, RECONNECT, INVALID_SESSION, HELLO, ACK = 0, 1, 2, 3, 6, 7, 9, 10, 11
PRESENCES, PRESENCE_SECONDS = 5, 20.0
PRIVILEGED = (1 << 1) | (1 << 8) | (1 << 15)


@dataclass(eq=False)
class Session:
    """A session that a client may resume: its events by number, and what its presence has said, with times."""

    id: str
    shard: tuple[int, int] = (0, 1)
    events: list[dict[str, Any]] = field(default_factory=list)
    wire: Wire | None = None
    presences: list[tuple[float, str]] = field(default_factory=list)


class Wire:
    """One websocket, with the compression that the client asked for."""

    def __init__(self, socket: web.WebSocketResponse, compress: str | None) -> None:
        self.socket = socket
        self._deflate = zlib.compressobj() if compress == "zlib-stream" else None

    async def send(self, payload: dict[str, Any]) -> None:
        """Send one message; a closed socket swallows it, as a lost connection does."""
        text = json.dumps(payload)
        with contextlib.suppress(ConnectionError):
            if self._deflate is None:
                await self.socket.send_str(text)
            else:
                data = self._deflate.compress(text.encode()) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
                await self.socket.send_bytes(data)


class Gateway:
    """Serves ``/gateway``.

    Attributes:
        identified: How many times a client began a new session.
        resumed: How many times a client went on with an old one.
        refuse_with: Close code to answer every IDENTIFY with (4004 is a bad token); None takes it.
        refusals: Close codes (None takes it) for the next ones, before that.
        away: Refuse every connection before it is one.
        forgetful: Refuse to resume (INVALID_SESSION), as after a long break.
        resume_at: Address that READY names for resuming; empty for this one.
    """

    def __init__(self, world: World, token: str, address: Callable[[], str]) -> None:
        self._world = world
        self._token = token
        self._address = address
        self._sessions: dict[str, Session] = {}
        self.identified = 0
        self.resumed = 0
        self.refuse_with: int | None = None
        self.refusals: list[int | None] = []
        self.away = False
        self.forgetful = False
        self.resume_at = ""

    @property
    def shards(self) -> set[tuple[int, int]]:
        """Index and count of every shard that listens now."""
        return {s.shard for s in self._sessions.values() if s.wire is not None}

    @property
    def presences(self) -> dict[int, list[str]]:
        """What the presence of each shard has said in its present session."""
        return {s.shard[0]: [words for _, words in s.presences] for s in self._sessions.values()}

    @property
    def connected(self) -> bool:
        """Whether a client is listening now."""
        return any(s.wire is not None for s in self._sessions.values())

    async def dispatch(self, event: str, data: dict[str, Any]) -> None:
        """Send an event to the sessions whose shard it is for; those without a connection get it when they resume."""
        for session in self._sessions.values():
            if not _owns(session.shard, data):
                continue
            payload = {"op": DISPATCH, "s": len(session.events) + 1, "t": event, "d": data}
            session.events.append(payload)
            if session.wire is not None:
                await session.wire.send(payload)

    async def drop(self, *, code: int = 4000) -> None:
        """Close every connection; the sessions stay."""
        for session in self._sessions.values():
            wire, session.wire = session.wire, None
            if wire is not None:
                await wire.socket.close(code=code)

    async def ask_to_reconnect(self) -> None:
        """Send RECONNECT, as Discord does before it moves a client elsewhere."""
        for session in self._sessions.values():
            if session.wire is not None:
                await session.wire.send({"op": RECONNECT, "d": None})

    async def close(self) -> None:
        """Stop serving."""
        await self.drop(code=WSCloseCode.GOING_AWAY)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """One connection, from HELLO to its end."""
        if self.away:
            raise web.HTTPServiceUnavailable
        compress = request.query.get("compress")
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        if request.query.get("v") != "10" or compress not in (None, "zlib-stream"):
            self._world.problems.append(f"gateway asked with {dict(request.query)}")
            await socket.close(code=4012)
            return socket
        wire = Wire(socket, compress)
        await wire.send({"op": HELLO, "d": {"heartbeat_interval": 41250}})
        session: Session | None = None
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                if session is None:
                    session = await self._open(wire, json.loads(message.data))
                else:
                    await self._hear(wire, json.loads(message.data), session)
        finally:
            if session is not None and session.wire is wire:
                session.wire = None
        return socket

    async def _hear(self, wire: Wire, payload: dict[str, Any], session: Session | None = None) -> None:
        if payload["op"] == HEARTBEAT:
            await wire.send({"op": ACK, "d": None})
        elif payload["op"] == PRESENCE and session is not None:
            now = self._world.clock()
            session.presences.append((now, payload["d"]["activities"][0]["state"]))
            if sum(at > now - PRESENCE_SECONDS for at, _ in session.presences) > PRESENCES:
                self._world.problems.append("more than 5 presences in 20 s")

    async def _open(self, wire: Wire, payload: dict[str, Any]) -> Session | None:
        data = payload["d"]
        if payload["op"] == IDENTIFY:
            return await self._identify(wire, data)
        if payload["op"] == RESUME:
            return await self._resume(wire, data)
        await self._hear(wire, payload)
        return None

    async def _identify(self, wire: Wire, data: dict[str, Any]) -> Session | None:
        refusal = self.refusals.pop(0) if self.refusals else self.refuse_with
        if refusal is not None or data["token"] != self._token:
            await wire.socket.close(code=refusal or 4004)
            return None
        index, count = shard = tuple(data.get("shard") or (0, 1))
        if count < self._world.shards or not 0 <= index < count:
            await wire.socket.close(code=4011 if count < self._world.shards else 4010)
            return None
        if data["intents"] & PRIVILEGED:
            self._world.problems.append(f"privileged intents asked for: {data['intents']}")
            await wire.socket.close(code=4014)
            return None
        self._sessions = {k: s for k, s in self._sessions.items() if s.wire is not None}
        session = Session(secrets.token_hex(16), shard, wire=wire)
        self._sessions[session.id] = session
        self.identified += 1
        guild = self._world.guild_id
        here = _owns(shard, {"guild_id": str(guild)})
        ready = {
            "v": 10,
            "user": self._world.bot.payload(),
            "guilds": [{"id": str(guild), "unavailable": True}] if here else [],
            "session_id": session.id,
            "shard": [*shard],
            "resume_gateway_url": self.resume_at or self._address(),
            "application": {"id": str(self._world.application_id), "flags": 0},
        }
        await self._to(session, "READY", ready)
        if here:
            await self._to(session, "GUILD_CREATE", self._guild())
        return session

    async def _resume(self, wire: Wire, data: dict[str, Any]) -> Session | None:
        session = self._sessions.get(data["session_id"])
        if session is None or self.forgetful or data["token"] != self._token:
            self._sessions.pop(data["session_id"], None)
            await wire.send({"op": INVALID_SESSION, "d": False})
            return None
        session.wire = wire
        for event in session.events[data["seq"] :]:
            await wire.send(event)
        self.resumed += 1
        await self._to(session, "RESUMED", {})
        return session

    async def _to(self, session: Session, event: str, data: dict[str, Any]) -> None:
        payload = {"op": DISPATCH, "s": len(session.events) + 1, "t": event, "d": data}
        session.events.append(payload)
        if session.wire is not None:
            await session.wire.send(payload)

    def _guild(self) -> dict[str, Any]:
        channels = [c for c in self._world.channels.values() if c.type != DM]
        return {
            "id": str(self._world.guild_id),
            "name": "The Studio",
            "owner_id": "1",
            # The server's own id is the role that everybody has; the next id is a role of some members.
            "roles": [_role(self._world.guild_id, "@everyone"), _role(self._world.guild_id + 1, "Painters")],
            "emojis": [],
            "stickers": [],
            "features": [],
            "premium_tier": 0,
            "nsfw_level": 0,
            "preferred_locale": "en-US",
            "member_count": 2,
            "members": [],
            "channels": [c.payload() for c in channels if c.parent_id is None],
            "threads": [c.payload() for c in channels if c.parent_id is not None],
            "unavailable": False,
        }


def _owns(shard: tuple[int, int], data: dict[str, Any]) -> bool:
    """Whether an event is for this shard: by the server's id; what belongs to no server is for the first."""
    index, count = shard
    return (int(data.get("guild_id") or 0) >> 22) % count == index


def _role(role_id: int, name: str) -> dict[str, Any]:
    colours = {"primary_color": 0, "secondary_color": None, "tertiary_color": None}
    known = {"id": str(role_id), "name": name, "color": 0, "colors": colours, "hoist": False, "position": 0}
    return known | {"permissions": "0", "managed": False, "mentionable": False, "flags": 0}
