"""The stand-in's REST side: the v10 paths that the bot uses, each body validated, each limit enforced."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import BodyPartReader, web

from tests.fakes import discord_spec
from tests.fakes.discord_world import (
    ACK_SECONDS,
    EPHEMERAL,
    LOADING,
    Attachment,
    Channel,
    Interaction,
    Message,
    World,
)

FILE_BYTES = 20 * 1024 * 1024
REQUEST_BYTES = 25 * 1024 * 1024
EDITS, WINDOW = 5, 1.0
"""Requests in a window, and its seconds: one for Discord's five. The client waits as long as the answers' headers say."""
CHANNEL = "/channels/{channel_id}"
MESSAGE = "/channels/{channel_id}/messages/{message_id}"
MESSAGES = "/channels/{channel_id}/messages"
HOOK = "/webhooks/{webhook_id}/{webhook_token}"
HOOK_MESSAGE = HOOK + "/messages/{message_id}"
CALLBACK = "/interactions/{interaction_id}/{interaction_token}/callback"

COMPONENT, AUTOCOMPLETE, FORM = 3, 4, 5
RESPOND, DEFER, DEFER_UPDATE, UPDATE, CHOICES, MODAL = 4, 5, 6, 7, 8, 9


LIMITS = web.RequestKey("limits", dict[str, str])
Handler = Callable[[web.Request], Awaitable[Any]]


def never(_name: str) -> bool:
    """Hold no answer."""
    return False


class Refused(Exception):
    """An error answer: HTTP status, Discord's code and its message."""

    def __init__(self, status: int, code: int, message: str, **more: Any) -> None:
        super().__init__(f"{status} {code} {message}")
        self.status = status
        self.body = {"message": message, "code": code, **more}


@dataclass(eq=False)
class Bucket:
    """A rate limit: a number of requests in a window that begins with the first."""

    opened: float
    used: int = 0


@dataclass(eq=False)
class Body:
    """A request's JSON and its files by index."""

    data: dict[str, Any]
    files: dict[int, tuple[str, bytes]] = field(default_factory=dict)


class Rest:
    """Answers what the bot asks over HTTP.

    Attributes:
        gateway_url: Where /gateway/bot says the gateway is.
        lost: Requests whose ``METHOD path`` contains this never arrive: the connection breaks.
        held: Asked with ``METHOD path`` after a request was carried out: it is not answered while this is true.
        asked: Every request as ``METHOD path``, in order.
        downloads: Paths of the files that were fetched.
        file_faults: What answers the next downloads instead of the file.
        file_bytes: Largest file that is taken; servers without boosts may have less.
        sessions: How many more sessions /gateway/bot says the bot may begin.
        broken: Status codes to answer the next requests with, whatever they ask (a platform in trouble).
        refuse: Asked with ``METHOD path`` before a request is carried out: HTTP status and Discord's code to refuse it with.
        throttle: Asked likewise: the seconds and the scope (``user``, ``shared``, ``global``) of a limit to refuse it with.
        spoil: Asked with ``METHOD path`` after a request was carried out: a status to answer instead, 0 to cut the
            connection without an answer, None to let it be.
    """

    def __init__(self, world: World, token: str, gateway_url: Callable[[], str]) -> None:
        self._world = world
        self._token = token
        self.gateway_url = gateway_url
        self._buckets: dict[tuple[str, int], Bucket] = {}
        self._nonces: dict[tuple[int, str], Message] = {}
        self.lost = ""
        self.held: Callable[[str], bool] = never
        self.asked: list[str] = []
        self.downloads: list[str] = []
        self.file_faults: list[Callable[[web.Request], Awaitable[web.StreamResponse]]] = []
        self.file_bytes = FILE_BYTES
        self.sessions = 999
        self.broken: list[int] = []
        self.refuse: Callable[[str], tuple[int, int] | None] = lambda _name: None
        self.throttle: Callable[[str], tuple[float, str] | None] = lambda _name: None
        self.spoil: Callable[[str], int | None] = lambda _name: None

    def routes(self) -> list[web.RouteDef]:
        """The routes, under /api/v10."""
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/users/@me", self._me),
            ("GET", "/oauth2/applications/@me", self._application),
            ("GET", "/gateway/bot", self._gateway_bot),
            ("GET", "/applications/{application_id}/commands", self._commands),
            ("PUT", "/applications/{application_id}/commands", self._put_commands),
            ("POST", CALLBACK, self._callback),
            ("POST", HOOK, self._follow_up),
            ("GET", HOOK_MESSAGE, self._hook_get),
            ("PATCH", HOOK_MESSAGE, self._hook_edit),
            ("DELETE", HOOK_MESSAGE, self._hook_delete),
            ("POST", MESSAGES, self._send),
            ("PATCH", MESSAGE, self._edit),
            ("DELETE", MESSAGE, self._delete),
            ("POST", "/users/@me/channels", self._open_direct),
            ("GET", CHANNEL, self._get_channel),
            ("PATCH", CHANNEL, self._edit_channel),
        ]
        return [web.route(m, "/api/v10" + p, self._serve(h)) for m, p, h in table] + [
            web.get("/cdn/{file_id}/{name}", self._file),
            web.route("*", "/api/{rest:.*}", self._serve(self._unknown)),
        ]

    async def _file(self, request: web.Request) -> web.StreamResponse:
        """A file that somebody has sent; ``file_faults`` may answer in its place."""
        self.downloads.append(request.path)
        if self.file_faults:
            return await self.file_faults.pop(0)(request)
        file_id = int(request.match_info["file_id"])
        sent = (a for m in self._world.messages.values() for a in m.attachments if a.id == file_id)
        file = self._world.files.get(file_id) or next(sent, None)
        return web.Response(status=404) if file is None else web.Response(body=file.data)

    def _serve(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            name = f"{request.method} {request.path.removeprefix('/api/v10')}"
            if self.lost and self.lost in name:
                return _hang_up(request)
            self.asked.append(name)
            headers: dict[str, str] = {}
            request[LIMITS] = headers
            try:
                if self.broken:
                    raise Refused(self.broken.pop(0), 0, "An internal error occurred")
                if (planted := self.refuse(name)) is not None:
                    raise Refused(*planted, "planted")
                if (limit := self.throttle(name)) is not None:
                    raise _throttled(headers, *limit)
                answer = await handler(request)
                status = 200
            except Refused as refused:
                answer, status = refused.body, refused.status
            except discord_spec.Invalid as invalid:
                self._world.problems += [f"{name}: {p}" for p in invalid.problems]
                answer, status = {"message": "Invalid Form Body", "code": 50035, "errors": invalid.problems}, 400
            while self.held(name):  # noqa: ASYNC110 - tests decide by anything that they see
                await asyncio.sleep(0.005)
            spoilt = self.spoil(name)
            if spoilt == 0:
                return _hang_up(request)
            if spoilt is not None:
                answer, status = {"message": "spoilt", "code": 0}, spoilt
            if answer is None:
                return web.Response(status=204, headers=headers)
            # Without a charset, as Discord names it; discord.py reads no other as JSON.
            headers["Content-Type"] = "application/json"
            return web.Response(body=json.dumps(answer).encode(), status=status, headers=headers)

        return serve

    async def _unknown(self, request: web.Request) -> Any:
        self._world.problems.append(f"no such path here: {request.method} {request.path}")
        raise Refused(404, 0, "404: Not Found")

    # The bot itself and its commands.

    def _authorise(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Bot {self._token}":
            raise Refused(401, 0, "401: Unauthorized")

    async def _me(self, request: web.Request) -> Any:
        self._authorise(request)
        return {**self._world.bot.payload(), "verified": True, "mfa_enabled": False, "flags": 0, "locale": "en-US"}

    async def _gateway_bot(self, request: web.Request) -> Any:
        self._authorise(request)
        limit = {"total": 1000, "remaining": self.sessions, "reset_after": 60_000, "max_concurrency": 1}
        return {"url": self.gateway_url(), "shards": self._world.shards, "session_start_limit": limit}

    async def _application(self, request: web.Request) -> Any:
        self._authorise(request)
        return {
            "id": str(self._world.application_id),
            "name": "Easel",
            "description": "",
            "icon": None,
            "bot_public": True,
            "bot_require_code_grant": False,
            "owner": self._world.owner.payload(),
            "team": self._world.team,
            "verify_key": "0" * 64,
            "flags": 0,
        }

    async def _commands(self, request: web.Request) -> Any:
        self._authorise(request)
        return self._world.commands

    async def _put_commands(self, request: web.Request) -> Any:
        self._authorise(request)
        data = await request.json()
        discord_spec.check("PUT", "/applications/{application_id}/commands", data)
        world = self._world
        world.commands = [
            {
                "type": 1,
                "description": "",  # that of menus' entries
                "dm_permission": True,
                "default_member_permissions": None,
                "nsfw": False,
                **command,
                "id": str(world.snowflake()),
                "application_id": str(world.application_id),
                "version": str(world.snowflake()),
            }
            for command in data
        ]
        world.syncs += 1
        return world.commands

    # Answers to interactions.

    async def _callback(self, request: web.Request) -> Any:
        world = self._world
        body = await self._body(request, "POST", CALLBACK)
        interaction = world.interactions.get(request.match_info["interaction_token"])
        after = 0.0 if interaction is None else world.clock() - interaction.created_at
        if interaction is None or str(interaction.id) != request.match_info["interaction_id"]:
            raise Refused(404, 10062, "Unknown interaction")
        if interaction.response is not None:
            raise Refused(400, 40060, "Interaction has already been acknowledged.")
        if after > ACK_SECONDS:
            world.problems.append(f"interaction answered after {after:.1f} s; {ACK_SECONDS:g} s are allowed")
            raise Refused(404, 10062, "Unknown interaction")
        kind, data = body.data["type"], body.data.get("data") or {}
        self._fits(interaction, kind)
        self._may(interaction.channel, body, opens=True)
        resource: dict[str, Any] | None = None
        if kind in (RESPOND, DEFER):
            message = Message(world.snowflake(), interaction.channel, token=interaction.token)
            message.flags = data.get("flags", 0) & EPHEMERAL
            if message.flags & EPHEMERAL:
                message.only_for = interaction.user
            if kind == RESPOND:
                self._fill(message, Body(data, body.files), creates=True)
            else:
                message.flags |= LOADING
            world.messages[message.id] = message
            interaction.original = message
            resource = {"type": kind, "message": world.message_payload(message)}
        elif kind == UPDATE:
            assert interaction.message is not None
            self._fill(interaction.message, Body(data, body.files), creates=False)
            interaction.original = interaction.message
            resource = {"type": kind, "message": world.message_payload(interaction.message)}
        elif kind == DEFER_UPDATE:
            interaction.original = interaction.message
        elif kind == MODAL:
            interaction.modal = data
        else:
            interaction.choices = data.get("choices") or []
        interaction.response, interaction.acked_after = kind, after
        if request.query.get("with_response") not in ("1", "true"):
            return None
        told: dict[str, Any] = {"id": str(interaction.id), "type": interaction.type}
        if interaction.original is not None:
            told["response_message_id"] = str(interaction.original.id)
            told["response_message_loading"] = interaction.original.loading
            told["response_message_ephemeral"] = interaction.original.only_for is not None
        return {"interaction": told, **({"resource": resource} if resource else {})}

    def _fits(self, interaction: Interaction, kind: int) -> None:
        from_message = interaction.type == COMPONENT or (interaction.type == FORM and interaction.message is not None)
        allowed = {CHOICES} if interaction.type == AUTOCOMPLETE else {RESPOND, DEFER}
        if from_message:
            allowed |= {UPDATE, DEFER_UPDATE}
        if interaction.type not in (AUTOCOMPLETE, FORM):
            allowed.add(MODAL)
        if kind not in allowed:
            raise discord_spec.Invalid([f"$.type: {kind} does not answer an interaction of type {interaction.type}"])

    def _hook(self, request: web.Request) -> Interaction:
        interaction = self._world.interactions.get(request.match_info["webhook_token"])
        wrong = request.match_info["webhook_id"] != str(self._world.application_id)
        if interaction is None or wrong or interaction.response is None:
            raise Refused(404, 10015, "Unknown Webhook")
        if not self._world.valid(interaction):
            raise Refused(401, 50027, "Invalid Webhook Token")
        return interaction

    def _hook_message(self, request: web.Request) -> tuple[Interaction, Message]:
        interaction = self._hook(request)
        wanted = request.match_info["message_id"]
        own = [m for m in (interaction.original, *interaction.followups) if m is not None]
        found = interaction.original if wanted == "@original" else next((m for m in own if str(m.id) == wanted), None)
        if found is None or found.deleted:
            raise Refused(404, 10008, "Unknown Message")
        return interaction, found

    async def _hook_get(self, request: web.Request) -> Any:
        return self._world.message_payload(self._hook_message(request)[1])

    async def _hook_edit(self, request: web.Request) -> Any:
        body = await self._body(request, "PATCH", HOOK_MESSAGE)
        _, message = self._hook_message(request)
        self._may(message.channel, body, opens=False)
        self._limit(request, "edit", message.channel)
        self._fill(message, body, creates=False)
        return self._world.message_payload(message)

    async def _hook_delete(self, request: web.Request) -> Any:
        _, message = self._hook_message(request)
        message.deleted = True

    async def _follow_up(self, request: web.Request) -> Any:
        body = await self._body(request, "POST", HOOK)
        interaction = self._hook(request)
        self._may(interaction.channel, body, opens=True)
        self._limit(request, "send", interaction.channel)
        original = interaction.original
        if original is not None and original.loading and not original.deleted:
            # The first one after "is thinking" takes its place, and is as private as that was.
            self._fill(original, body, creates=False)
            return self._world.message_payload(original)
        message = Message(self._world.snowflake(), interaction.channel, token=interaction.token)
        if body.data.get("flags", 0) & EPHEMERAL:
            message.flags, message.only_for = EPHEMERAL, interaction.user
        self._fill(message, body, creates=True)
        self._world.messages[message.id] = message
        interaction.followups.append(message)
        return self._world.message_payload(message)

    # Messages by the bot's own token.

    def _channel(self, request: web.Request) -> Channel:
        self._authorise(request)
        channel = self._world.channels.get(int(request.match_info["channel_id"]))
        if channel is None:
            raise Refused(404, 10003, "Unknown Channel")
        if not channel.bot_access:
            raise Refused(403, 50001, "Missing Access")
        return channel

    async def _send(self, request: web.Request) -> Any:
        body = await self._body(request, "POST", MESSAGES)
        channel = self._channel(request)
        if channel.recipient is not None and not channel.recipient.takes_dms:
            raise Refused(403, 50007, "Cannot send messages to this user")
        self._may(channel, body, opens=True)
        self._limit(request, "send", channel)
        nonce = body.data.get("nonce")
        known = self._nonces.get((channel.id, str(nonce)))
        if known is not None and body.data.get("enforce_nonce"):
            return self._world.message_payload(known)
        message = Message(self._world.snowflake(), channel, nonce=None if nonce is None else str(nonce))
        self._fill(message, body, creates=True)
        self._world.messages[message.id] = message
        if nonce is not None:
            self._nonces[channel.id, str(nonce)] = message
        return self._world.message_payload(message)

    async def _edit(self, request: web.Request) -> Any:
        body = await self._body(request, "PATCH", MESSAGE)
        channel = self._channel(request)
        message = self._world.messages.get(int(request.match_info["message_id"]))
        # An ephemeral message is in no channel: only its interaction's token reaches it.
        if message is None or message.deleted or message.channel is not channel or message.only_for is not None:
            raise Refused(404, 10008, "Unknown Message")
        self._may(channel, body, opens=False)
        self._limit(request, "edit", channel)
        self._fill(message, body, creates=False)
        return self._world.message_payload(message)

    async def _delete(self, request: web.Request) -> Any:
        channel = self._channel(request)
        message = self._world.messages.get(int(request.match_info["message_id"]))
        if message is None or message.deleted or message.channel is not channel or message.only_for is not None:
            raise Refused(404, 10008, "Unknown Message")
        message.deleted = True

    async def _get_channel(self, request: web.Request) -> Any:
        return self._channel(request).payload()

    async def _edit_channel(self, request: web.Request) -> Any:
        body = await self._body(request, "PATCH", CHANNEL)
        channel = self._channel(request)
        if channel.locked:
            raise Refused(403, 50013, "Missing Permissions")
        channel.archived = body.data.get("archived", channel.archived)
        return channel.payload()

    async def _open_direct(self, request: web.Request) -> Any:
        self._authorise(request)
        body = await self._body(request, "POST", "/users/@me/channels")
        user = self._world.users.get(int(body.data["recipient_id"]))
        if user is None:
            raise Refused(400, 50033, "Invalid Recipient(s)")
        return self._world.direct(user).payload()

    # Helpers of the handlers.

    async def _body(self, request: web.Request, method: str, path: str) -> Body:
        files: dict[int, tuple[str, bytes]] = {}
        if request.content_type == "multipart/form-data":
            data: dict[str, Any] = {}
            async for part in await request.multipart():
                assert isinstance(part, BodyPartReader)
                if part.name == "payload_json":
                    data = json.loads(await part.text())
                else:
                    index = int(str(part.name).removeprefix("files[").removesuffix("]"))
                    files[index] = (part.filename or "", bytes(await part.read()))
        else:
            data = await request.json()
        discord_spec.check(method, path, data)
        sizes = [len(b) for _, b in files.values()]
        if any(s > self.file_bytes for s in sizes) or sum(sizes) > max(REQUEST_BYTES, self.file_bytes):
            raise Refused(413, 40005, "Request entity too large")
        return Body(data, files)

    def _may(self, channel: Channel, body: Body, *, opens: bool) -> None:
        """Refuse what the bot has no right to there; ``opens``: writing opens an archived thread, editing does not."""
        if channel.archived and (channel.locked or not opens):
            raise Refused(400, 50083, "Thread is archived")
        if body.files and not channel.attach_files:
            raise Refused(403, 50013, "Missing Permissions")
        channel.archived = False

    def _limit(self, request: web.Request, method: str, channel: Channel) -> None:
        now = self._world.clock()
        bucket = self._buckets.get((method, channel.id))
        if bucket is None or now >= bucket.opened + WINDOW:
            bucket = self._buckets[method, channel.id] = Bucket(now)
        over = bucket.used >= EDITS
        bucket.used += 0 if over else 1
        left = bucket.opened + WINDOW - now
        headers: dict[str, str] = request[LIMITS]
        headers |= {
            "X-RateLimit-Limit": str(EDITS),
            "X-RateLimit-Remaining": str(EDITS - bucket.used),
            "X-RateLimit-Reset": f"{bucket.opened + WINDOW:.3f}",
            "X-RateLimit-Reset-After": f"{left:.3f}",
            "X-RateLimit-Bucket": f"{method}-messages",
        }
        if over:
            self._world.limited += 1
            raise _throttled(headers, left, "user")

    def _fill(self, message: Message, body: Body, *, creates: bool) -> None:
        data = body.data
        listed = {str(a["id"]): a for a in data.get("attachments") or []}
        kept = [a for a in message.attachments if "attachments" not in data or str(a.id) in listed]
        new = []
        for index, (name, content) in sorted(body.files.items()):
            about = listed.get(str(index), {})
            new.append(
                Attachment(self._world.snowflake(), about.get("filename") or name, content, about.get("description"))
            )
        attachments = [*kept, *new]
        said = data.get("content", message.content) or ""
        embeds = message.embeds if data.get("embeds") is None else data["embeds"]
        components = message.components if data.get("components") is None else data["components"]
        # The flag can be set by any request and never be taken away.
        layout = (message.flags | (data.get("flags") or 0)) & discord_spec.IS_COMPONENTS_V2
        whole = {**data, "content": said, "embeds": embeds, "components": components}
        discord_spec.check_message(whole, {a.filename for a in attachments}, creates=creates, v2=bool(layout))
        message.attachments = attachments
        message.content, message.embeds, message.components = said, embeds, components
        message.flags = message.flags & ~LOADING | layout
        message.edits += not creates
        mentions = data.get("allowed_mentions")
        if creates:
            message.pings = self._pings(message.text, mentions)

    def _pings(self, content: str, mentions: dict[str, Any] | None) -> set[str]:
        parse = {"users", "roles", "everyone"} if mentions is None else set(mentions.get("parse") or [])
        named = {str(u) for u in (mentions or {}).get("users") or []}
        found = {str(u) for u in self._world.users if f"<@{u}>" in content and ("users" in parse or str(u) in named)}
        return found | (
            {"everyone"} if "everyone" in parse and ("@everyone" in content or "@here" in content) else set()
        )


def _throttled(headers: dict[str, str], seconds: float, scope: str) -> Refused:
    """Return the refusal of a request that is over a limit, and add its headers."""
    everywhere = scope == "global"
    headers |= {"Via": "1.1 google", "Retry-After": f"{seconds:.3f}", "X-RateLimit-Scope": scope}
    if everywhere:
        headers["X-RateLimit-Global"] = "true"
    more = {"retry_after": round(seconds, 3), "global": everywhere}
    return Refused(429, 0, "You are being rate limited.", **more)


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.close()
    return web.Response(status=500)
