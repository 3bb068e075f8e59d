"""The state of the Telegram stand-in: people, chats and visible messages."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

_MENTION = re.compile(r"\B@[A-Za-z0-9_]{2,32}\b")


@dataclass
class Person:
    """A user of Telegram."""

    id: int
    name: str
    language: str | None = "en"
    is_bot: bool = False
    username: str | None = None

    def json(self) -> dict[str, Any]:
        """A ``User``."""
        user: dict[str, Any] = {"id": self.id, "is_bot": self.is_bot, "first_name": self.name}
        if self.language:
            user["language_code"] = self.language
        if self.username:
            user["username"] = self.username
        return user


@dataclass
class File:
    """An uploaded file."""

    id: str
    data: bytes
    name: str
    mime: str | None = None

    def size(self) -> tuple[int, int]:
        """Width and height of a picture, in pixels."""
        with Image.open(io.BytesIO(self.data)) as picture:
            return picture.size


@dataclass
class Msg:
    """One message, as everybody in the chat sees it now."""

    id: int
    chat: Chat
    sender: Person
    date: int
    text: str | None = None
    caption: str | None = None
    entities: list[dict[str, Any]] = field(default_factory=list)
    photo: File | None = None
    document: File | None = None
    markup: dict[str, Any] | None = None
    reply_to: Msg | None = None
    thread: int | None = None
    album: str | None = None
    sender_chat: Chat | None = None
    deleted: bool = False
    edits: int = 0
    past: list[str] = field(default_factory=list)
    """Its earlier texts and captions, oldest first."""

    @property
    def words(self) -> str:
        """Its text or caption."""
        return self.caption if self.text is None and self.caption is not None else self.text or ""

    @property
    def labels(self) -> list[str]:
        """The labels of its buttons, row by row."""
        return [b["text"] for row in (self.markup or {}).get("inline_keyboard", []) for b in row]

    def button(self, label: str) -> str:
        """The data behind the button whose label or data contains ``label``."""
        for row in (self.markup or {}).get("inline_keyboard", []):
            for b in row:
                if label in b["text"] or label in b.get("callback_data", ""):
                    return str(b["callback_data"])
        raise AssertionError(f"no button {label!r} under {self.words!r}: {self.markup}")

    def code(self) -> list[str]:
        """The parts that are set as code or pre, in which Telegram looks for no mentions and links."""
        units = self.words.encode("utf-16-le")
        return [
            units[2 * e["offset"] : 2 * (e["offset"] + e["length"])].decode("utf-16-le")
            for e in self.entities
            if e["type"] in {"code", "pre"}
        ]

    def mentions(self) -> list[str]:
        """The users that Telegram itself would find in the words and notify: it looks everywhere but in code."""
        units = bytearray(self.words.encode("utf-16-le"))
        for e in self.entities:
            if e["type"] in {"code", "pre"}:
                units[2 * e["offset"] : 2 * (e["offset"] + e["length"])] = " ".encode("utf-16-le") * e["length"]
        return _MENTION.findall(units.decode("utf-16-le"))

    def json(self, *, with_reply: bool = True) -> dict[str, Any]:
        """A ``Message``."""
        message: dict[str, Any] = {
            "message_id": self.id,
            "chat": self.chat.json(),
            "from": self.sender.json(),
            "date": self.date,
        }
        if self.chat.type == "channel":
            del message["from"]
        if self.text is not None:
            message["text"] = self.text
            if self.entities:
                message["entities"] = self.entities
        if self.caption is not None:
            message["caption"] = self.caption
            if self.entities:
                message["caption_entities"] = self.entities
        if self.photo is not None:
            try:
                width, height = self.photo.size()
            except (OSError, Image.DecompressionBombError):
                width, height = 90, 90
            small = {"file_id": f"{self.photo.id}-s", "file_unique_id": f"{self.photo.id}-s", "width": 9, "height": 9}
            large = {"file_id": self.photo.id, "file_unique_id": self.photo.id, "width": width, "height": height}
            message["photo"] = [small, large]
        if self.document is not None:
            message["document"] = {
                "file_id": self.document.id,
                "file_unique_id": self.document.id,
                "file_name": self.document.name,
                **({"mime_type": self.document.mime} if self.document.mime else {}),
            }
        if self.markup:
            message["reply_markup"] = self.markup
        if self.thread is not None:
            message |= {"message_thread_id": self.thread, "is_topic_message": True}
        if self.album is not None:
            message["media_group_id"] = self.album
        if self.sender_chat is not None:
            message["sender_chat"] = self.sender_chat.json()
        if self.reply_to is not None and with_reply:
            message["reply_to_message"] = self.reply_to.json(with_reply=False)
        if self.edits:
            message["edit_date"] = self.date + self.edits
        return message


@dataclass
class Chat:
    """A private chat, a group or a supergroup. ``blocked``: the bot may not write there."""

    id: int
    type: str
    title: str | None = None
    members: dict[int, Person] = field(default_factory=dict)
    admins: set[int] = field(default_factory=set)
    messages: list[Msg] = field(default_factory=list)
    blocked: bool = False
    moved_to: int | None = None
    photos_allowed: bool = True
    bare_admins: bool = False
    """Its administrators are told as another version of the Bot API tells them: without the fields of today."""
    actions: list[str] = field(default_factory=list)
    documents_allowed: bool = True
    closed_topics: set[int] = field(default_factory=set)
    """Topics in which nobody but admins may write."""

    @property
    def is_group(self) -> bool:
        """A group or a supergroup."""
        return self.type != "private"

    @property
    def seen(self) -> list[Msg]:
        """The messages that are there now."""
        return [m for m in self.messages if not m.deleted]

    def by_bot(self) -> list[Msg]:
        """What the bot shows here now, oldest first."""
        return [m for m in self.seen if m.sender.is_bot and m.sender_chat is None]

    def find(self, message_id: object) -> Msg | None:
        """The message, unless it was deleted."""
        return next((m for m in self.seen if m.id == message_id), None)

    def json(self) -> dict[str, Any]:
        """A ``Chat``."""
        chat: dict[str, Any] = {"id": self.id, "type": self.type}
        if self.title:
            chat["title"] = self.title
        return chat
