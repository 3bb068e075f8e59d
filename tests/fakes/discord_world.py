"""The state of the Discord stand-in: users, channels, messages and interactions, and their JSON."""

from __future__ import annotations

import asyncio
import itertools
import json
import mimetypes
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.discord_spec import BUTTON, IS_COMPONENTS_V2, TEXT_DISPLAY, nested

EPOCH_MS = 1_420_070_400_000
EPHEMERAL = 1 << 6
LOADING = 1 << 7
TOKEN_SECONDS = 15 * 60
ACK_SECONDS = 3.0
MANAGE_GUILD = 1 << 5
TEXT, DM, PUBLIC_THREAD, FORUM = 0, 1, 11, 15


@dataclass(eq=False)
class User:
    """A user."""

    id: int
    name: str
    locale: str = "en-US"
    permissions: int = 0
    roles: tuple[int, ...] = ()
    bot: bool = False
    takes_dms: bool = True

    def payload(self) -> dict[str, Any]:
        """As the API shows a user."""
        return {
            "id": str(self.id),
            "username": self.name.lower().replace(" ", "_"),
            "global_name": self.name,
            "discriminator": "0",
            "avatar": None,
            "bot": self.bot,
            "public_flags": 0,
        }


@dataclass(eq=False)
class Channel:
    """A channel of the server, a thread, or direct messages; ``bot_access`` is whether the bot is in it.

    ``installed`` is whether the server has the application; else people have it for themselves alone. ``attach_files``
    is whether the bot has that right. A thread may be ``archived`` (writing opens it again) and ``locked`` (only
    moderators open it again). ``file_bytes`` is the largest file that interactions there are told of.
    """

    id: int
    name: str
    type: int = TEXT
    guild_id: int | None = None
    parent_id: int | None = None
    nsfw: bool = False
    bot_access: bool = True
    installed: bool = True
    attach_files: bool = True
    archived: bool = False
    locked: bool = False
    file_bytes: int = 20 * 2**20
    recipient: User | None = None

    def payload(self) -> dict[str, Any]:
        """As an interaction or the gateway shows a channel."""
        data: dict[str, Any] = {"id": str(self.id), "type": self.type, "flags": 0, "last_message_id": None}
        if self.type == DM:
            return {**data, "recipients": [self.recipient.payload()] if self.recipient else []}
        data |= {"name": self.name, "nsfw": self.nsfw, "guild_id": str(self.guild_id), "position": 0}
        data |= {"permission_overwrites": [], "parent_id": str(self.parent_id) if self.parent_id else None}
        if self.type == FORUM:
            data |= {"available_tags": [], "default_reaction_emoji": None, "default_forum_layout": 0, "topic": None}
        if self.type == PUBLIC_THREAD:
            data |= {
                "owner_id": "1",
                "message_count": 0,
                "member_count": 1,
                "rate_limit_per_user": 0,
                "total_message_sent": 0,
            }
            data["thread_metadata"] = {
                "archived": self.archived,
                "auto_archive_duration": 1440,
                "archive_timestamp": "2026-01-01T00:00:00+00:00",
                "locked": self.locked,
            }
        return data


@dataclass(eq=False)
class Attachment:
    """An uploaded file."""

    id: int
    filename: str
    data: bytes
    description: str | None
    mime: str | None = None

    @property
    def content_type(self) -> str | None:
        """What Discord says that it is, by its name or by what the sender's app said."""
        return self.mime or mimetypes.guess_type(self.filename)[0]


@dataclass(eq=False)
class Message:
    """A message as the stand-in keeps it.

    Attributes:
        only_for: The one who sees it, when it is ephemeral.
        pings: Ids of users (or ``everyone``) that it really notified.
        author: Who wrote it; None for the bot.
    """

    id: int
    channel: Channel
    content: str = ""
    embeds: list[dict[str, Any]] = field(default_factory=list)
    components: list[dict[str, Any]] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    flags: int = 0
    only_for: User | None = None
    nonce: str | None = None
    token: str | None = None
    edits: int = 0
    deleted: bool = False
    pings: set[str] = field(default_factory=set)
    author: User | None = None

    @property
    def text(self) -> str:
        """All that can be read on it."""
        parts = [self.content]
        for embed in self.embeds:
            parts += [str((embed.get("author") or {}).get("name", "")), str(embed.get("title", ""))]
            parts.append(str(embed.get("description", "")))
            parts += [f"{f['name']}: {f['value']}" for f in embed.get("fields") or []]
            parts.append(str((embed.get("footer") or {}).get("text", "")))
        parts += [c["content"] for c in nested(self.components) if c["type"] == TEXT_DISPLAY]
        return "\n".join(p for p in parts if p)

    @property
    def pictures(self) -> list[Attachment]:
        """What is attached, except previews."""
        return [a for a in self.attachments if not a.filename.startswith("preview-")]

    @property
    def buttons(self) -> dict[str, str]:
        """Labels by custom id, in order."""
        return {c["custom_id"]: c.get("label", "") for c in nested(self.components) if c["type"] == BUTTON}

    @property
    def has_layout(self) -> bool:
        """Whether it is made of components alone, for good."""
        return bool(self.flags & IS_COMPONENTS_V2)

    @property
    def loading(self) -> bool:
        """Whether it is still the answer "is thinking"."""
        return bool(self.flags & LOADING)


@dataclass(eq=False)
class Interaction:
    """An interaction that the bot has to answer."""

    id: int
    token: str
    type: int
    user: User
    channel: Channel
    created_at: float
    message: Message | None = None
    acked_after: float | None = None
    response: int | None = None
    original: Message | None = None
    followups: list[Message] = field(default_factory=list)
    choices: list[dict[str, Any]] = field(default_factory=list)
    modal: dict[str, Any] = field(default_factory=dict)
    expired: bool = False


class World:
    """All that exists, and a way to wait for it to change.

    Attributes:
        problems: Calls that the real Discord would refuse; a good run leaves none.
        limited: How many requests met a rate limit.
        cdn: Where files are fetched: ``<cdn>/<id>/<name>``.
        files: Files that people have uploaded, by id.
        shards: How many shards Discord asks for; a session that has fewer is closed with 4011 when this is above 1.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._ids = itertools.count(1)
        self.problems: list[str] = []
        self.limited = 0
        self.bot = User(self.snowflake(), "Easel", bot=True)
        self.application_id = self.snowflake()
        self.owner = User(self.snowflake(), "Operator")
        self.team: dict[str, Any] | None = None
        self.guild_id = self.snowflake()
        self.channels: dict[int, Channel] = {}
        self.messages: dict[int, Message] = {}
        self.interactions: dict[str, Interaction] = {}
        self.users: dict[int, User] = {}
        self.commands: list[dict[str, Any]] = []
        self.syncs = 0
        self.shards = 1
        self.cdn = "https://cdn.invalid"
        self.files: dict[int, Attachment] = {}

    def snowflake(self) -> int:
        """A new id that tells the stand-in's time, as real ones do."""
        return (int(self.clock() * 1000 - EPOCH_MS) << 22) | next(self._ids)

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
        """Wait until ``condition`` holds; AssertionError after ``seconds``."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds:g} s: {what}; problems: {self.problems}")
            await asyncio.sleep(0.005)

    def channel(self, name: str, **more: Any) -> Channel:
        """Make a channel of the server."""
        made = Channel(self.snowflake(), name, guild_id=self.guild_id, **more)
        self.channels[made.id] = made
        return made

    def direct(self, user: User) -> Channel:
        """The direct messages between the bot and a user; made when there are none yet."""
        for known in self.channels.values():
            if known.type == DM and known.recipient is user and known.bot_access:
                return known
        made = Channel(self.snowflake(), user.name, type=DM, recipient=user)
        self.channels[made.id] = made
        return made

    def begin(self, kind: int, user: User, channel: Channel, message: Message | None = None) -> Interaction:
        """Make an interaction that waits for its answer."""
        made = Interaction(self.snowflake(), secrets.token_urlsafe(24), kind, user, channel, self.clock(), message)
        self.interactions[made.token] = made
        return made

    def valid(self, interaction: Interaction) -> bool:
        """Whether its token may still be used."""
        return not interaction.expired and self.clock() < interaction.created_at + TOKEN_SECONDS

    def message_payload(self, message: Message) -> dict[str, Any]:
        """As the API shows a message."""
        return {
            "id": str(message.id),
            "channel_id": str(message.channel.id),
            "author": (message.author or self.bot).payload(),
            "content": message.content,
            "timestamp": "2026-01-01T00:00:00+00:00",
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "attachments": [self.attachment_payload(a) for a in message.attachments],
            "embeds": [{**e, "type": "rich"} for e in message.embeds],
            "components": self._components(message),
            "pinned": False,
            "type": 20 if message.token else 0,
            "flags": message.flags,
            **({} if message.author else {"application_id": str(self.application_id)}),
            **({"webhook_id": str(self.application_id)} if message.token else {}),
            **({"nonce": message.nonce} if message.nonce else {}),
        }

    def attachment_payload(self, attachment: Attachment) -> dict[str, Any]:
        """As the API shows an uploaded file."""
        address = f"{self.cdn}/{attachment.id}/{attachment.filename}"
        return {
            "id": str(attachment.id),
            "filename": attachment.filename,
            "size": len(attachment.data),
            "url": address,
            "proxy_url": address,
            "description": attachment.description,
            **({"content_type": attachment.content_type} if attachment.content_type else {}),
        }

    def _components(self, message: Message) -> list[dict[str, Any]]:
        """As the API shows components: attachments have addresses."""
        shown: list[dict[str, Any]] = json.loads(json.dumps(message.components))
        ids = {a.filename: a.id for a in message.attachments}
        for component in nested(shown):
            files = [component.get("file"), component.get("media"), *(i["media"] for i in component.get("items", []))]
            for file in files:
                name = str((file or {}).get("url", "")).removeprefix("attachment://")
                if file is not None and name in ids:
                    file["url"] = file["proxy_url"] = f"{self.cdn}/{ids[name]}/{name}"
        return shown

    def interaction_payload(self, interaction: Interaction, data: dict[str, Any]) -> dict[str, Any]:
        """As INTERACTION_CREATE brings it."""
        user, channel = interaction.user, interaction.channel
        payload: dict[str, Any] = {
            "id": str(interaction.id),
            "application_id": str(self.application_id),
            "type": interaction.type,
            "token": interaction.token,
            "version": 1,
            "data": data,
            "channel_id": str(channel.id),
            "channel": channel.payload(),
            "locale": user.locale,
            "app_permissions": "2248473465835073",
            "entitlements": [],
            "entitlement_sku_ids": [],
            "attachment_size_limit": channel.file_bytes,
        }
        if interaction.message is not None:
            payload["message"] = self.message_payload(interaction.message)
        if channel.guild_id is None:
            owners = {"0": "0"} if channel.bot_access else {"1": str(user.id)}
            context = 1 if channel.bot_access else 2
            return payload | {"user": user.payload(), "context": context, "authorizing_integration_owners": owners}
        member = {
            "user": user.payload(),
            "nick": None,
            "avatar": None,
            "roles": [str(r) for r in user.roles],
            "joined_at": "2026-01-01T00:00:00+00:00",
            "premium_since": None,
            "deaf": False,
            "mute": False,
            "flags": 0,
            "pending": False,
            "permissions": str(user.permissions),
        }
        return payload | {
            "guild_id": str(channel.guild_id),
            "guild": {"id": str(channel.guild_id), "locale": "en-US", "features": []},
            "guild_locale": "en-US",
            "member": member,
            "context": 0,
            "authorizing_integration_owners": {"0": str(channel.guild_id)}
            if channel.installed
            else {"1": str(user.id)},
        }
