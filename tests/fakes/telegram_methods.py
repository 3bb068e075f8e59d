"""The Telegram stand-in's methods: what each does to the chats, and how it refuses."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import UnidentifiedImageError

from tests.fakes import telegram_limits as limits
from tests.fakes.telegram_world import Chat, File, Msg, Person

NOT_MODIFIED = (
    "Bad Request: message is not modified: specified new message content and reply markup are exactly the same as a "
    "current content and reply markup of the message"
)


class ApiError(Exception):
    """An answer with ``ok`` false."""

    def __init__(self, status: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.status = status
        self.description = description
        self.parameters = parameters


@dataclass
class Query:
    """A press of a button, and how the bot answered it."""

    id: str
    data: str
    answered: bool = False
    text: str = ""
    alert: bool = False


@dataclass
class World:
    """All chats, and the methods that change them. Every method takes checked parameters and the uploaded parts."""

    bot: Person
    flood: limits.Flood
    chats: dict[int, Chat] = field(default_factory=dict)
    queries: dict[str, Query] = field(default_factory=dict)
    inline: dict[str, Msg] = field(default_factory=dict)
    """The inline messages, by their ids; the bot is not in their chats."""
    offers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The answers to inline queries, by the query's id."""
    photos: dict[str, File] = field(default_factory=dict)
    """Photos that were sent, by their ids: they can be sent again."""
    commands: dict[tuple[str, str], list[dict[str, str]]] = field(default_factory=dict)
    ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    webhook: str = ""
    """Where updates are sent; nobody can ask for them while it is set."""
    webhook_secret: str = ""
    webhook_kinds: list[str] = field(default_factory=list)
    webhook_error: str = ""
    webhook_failed_at: int | None = None
    """Unix time of that error; None: now."""
    pending: Callable[[], int] = lambda: 0

    def add(self, chat: Chat, sender: Person, **content: Any) -> Msg:
        """Put a new message into a chat."""
        message = Msg(next(self.ids), chat, sender, int(time.time()), **content)
        chat.messages.append(message)
        return message

    def file(self, file_id: str) -> File | None:
        """A photo or a document that is in a chat, by its id."""
        sent = (f for chat in self.chats.values() for m in chat.messages for f in (m.photo, m.document))
        return next((file for file in sent if file is not None and file.id == file_id), None)

    def getme(self, p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
        """Who the bot is."""
        return self.bot.json()

    def setwebhook(self, p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
        """From now on updates are sent to an address."""
        self.webhook, self.webhook_secret = p["url"], p.get("secret_token", "")
        self.webhook_kinds = p.get("allowed_updates", [])
        return True

    def getwebhookinfo(self, p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
        """Where updates are sent, and the last failure."""
        info = {"url": self.webhook, "has_custom_certificate": False, "pending_update_count": self.pending()}
        if self.webhook_error:
            failed_at = int(time.time()) if self.webhook_failed_at is None else self.webhook_failed_at
            info |= {"last_error_date": failed_at, "last_error_message": self.webhook_error}
        return info

    def getfile(self, p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
        """Where a file that somebody sent can be fetched, if it is no larger than Telegram hands out."""
        file = self.file(p["file_id"])
        if file is None:
            raise ApiError(400, "Bad Request: wrong file_id or the file is temporarily unavailable")
        if len(file.data) > limits.HANDED_OUT:
            raise ApiError(400, "Bad Request: file is too big")
        about = {"file_id": file.id, "file_unique_id": file.id, "file_size": len(file.data)}
        return about | {"file_path": f"photos/{file.id}"}

    def deletewebhook(self, p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
        """From now on updates are asked for."""
        self.webhook = ""
        return True

    def setmycommands(self, p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
        """Keep the list by scope and language."""
        self.commands[p.get("scope", {}).get("type", "default"), p.get("language_code", "")] = p["commands"]
        return True

    def sendchataction(self, p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
        """Keep what the bot seems to do."""
        self._chat(p).actions.append(p["action"])
        return True

    def getchatmember(self, p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
        """Owner for the first admin, administrator for others, else member."""
        chat = self._chat(p)
        person = chat.members.get(p["user_id"])
        if person is None:
            raise ApiError(400, "Bad Request: member not found")
        if person.id in chat.admins:
            if chat.bare_admins:
                return {"status": "administrator", "user": person.json(), "can_do_something_new": True}
            return {"status": "creator", "user": person.json(), "is_anonymous": False}
        return {"status": "member", "user": person.json()}

    def sendmessage(self, p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
        """A text message."""
        self._text(p["text"])
        return self._send(p, {"text": p["text"], "entities": p.get("entities", [])})[0].json()

    def sendphoto(self, p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
        """A photo with a caption."""
        self._caption(p)
        photo = self._photo(p["photo"], files)
        return self._send(p, {"photo": photo, **self._captioned(p)})[0].json()

    def senddocument(self, p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
        """A file."""
        self._caption(p)
        document = self._document(p["document"], files)
        return self._send(p, {"document": document, **self._captioned(p)})[0].json()

    def sendmediagroup(self, p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
        """An album of two to ten, without buttons."""
        if len(p["media"]) not in limits.ALBUM:
            raise ApiError(400, "Bad Request: media must be an array of 2-10 items")
        if len({m["type"] == "document" for m in p["media"]}) > 1:
            raise ApiError(400, "Bad Request: documents can't be mixed with other media types")
        contents = []
        for media in p["media"]:
            self._caption(media)
            contents.append({**self._medium(media, files), **self._captioned(media)})
        album = f"album-{next(self.ids)}"
        return [m.json() for m in self._send(p, *contents, album=album)]

    def editmessagetext(self, p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
        """Another text for a text message."""
        self._text(p["text"])
        message = self._editable(p)
        if message.text is None:
            raise ApiError(400, "Bad Request: there is no text in the message to edit")
        return self._edit(message, p, text=p["text"], entities=p.get("entities", []))

    def editmessagereplymarkup(self, p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
        """Other buttons for a message; the rest stays."""
        return self._edit(self._editable(p), p)

    def editmessagecaption(self, p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
        """Another caption for a message with media."""
        self._caption(p)
        message = self._editable(p)
        if message.text is not None:
            raise ApiError(400, "Bad Request: there is no caption in the message to edit")
        return self._edit(message, p, **self._captioned(p))

    def editmessagemedia(self, p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
        """Other media; a text message becomes one with media."""
        self._caption(p["media"])
        message = self._editable(p)
        if "inline_message_id" in p and files:
            raise ApiError(400, "Bad Request: can't upload a new file to an inline message")
        content = {"text": None, "photo": None, "document": None, **self._medium(p["media"], files)}
        if message.album is not None and (message.photo is None) != (content["photo"] is None):
            raise ApiError(400, "Bad Request: wrong type of the web page content")
        return self._edit(message, p, **content, **self._captioned(p["media"]))

    def deletemessage(self, p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
        """Take a message away: one's own, until it is 48 hours old."""
        message = self._chat(p).find(p["message_id"])
        if message is None:
            raise ApiError(400, "Bad Request: message to delete not found")
        if message.sender is not self.bot or time.time() - message.date > limits.DELETED_WITHIN:
            raise ApiError(400, "Bad Request: message can't be deleted for everyone")
        message.deleted = True
        return True

    def answerinlinequery(self, p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
        """The results of an inline query; once."""
        if self.offers.get(p["inline_query_id"]) != {}:
            raise ApiError(400, "Bad Request: query is too old and response timeout expired or query ID is invalid")
        if len(p["results"]) > limits.RESULTS:
            raise ApiError(400, "Bad Request: RESULTS_TOO_MUCH")
        for result in p["results"]:
            if not 1 <= len(result["id"].encode()) <= limits.CALLBACK_BYTES:
                raise ApiError(400, "Bad Request: RESULT_ID_INVALID")
            if result["type"] == "photo" and result["photo_file_id"] not in self.photos:
                raise ApiError(400, "Bad Request: wrong file identifier/HTTP URL specified")
        self.offers[p["inline_query_id"]] = dict(p)
        return True

    def answercallbackquery(self, p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
        """The end of a press; once."""
        query = self.queries.get(p["callback_query_id"])
        if query is None or query.answered:
            raise ApiError(400, "Bad Request: query is too old and response timeout expired or query ID is invalid")
        if limits.length(p.get("text", "")) > limits.ANSWER:
            raise ApiError(400, "Bad Request: MESSAGE_TOO_LONG")
        query.answered, query.text, query.alert = True, p.get("text", ""), p.get("show_alert", False)
        return True

    def _chat(self, p: Mapping[str, Any]) -> Chat:
        chat = self.chats.get(int(p["chat_id"]))
        if chat is None:
            if int(p["chat_id"]) > 0:
                raise ApiError(403, "Forbidden: bot can't initiate conversation with a user")
            raise ApiError(400, "Bad Request: chat not found")
        if chat.moved_to is not None:
            raise ApiError(
                400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=chat.moved_to
            )
        if chat.blocked:
            who = "bot was kicked from the group chat" if chat.is_group else "bot was blocked by the user"
            raise ApiError(403, f"Forbidden: {who}")
        return chat

    def _admit(self, chat: Chat, messages: int) -> None:
        wait = self.flood.admit(chat.id, messages, group=chat.is_group)
        if wait is not None:
            raise ApiError(429, f"Too Many Requests: retry after {wait}", retry_after=wait)

    def _send(self, p: Mapping[str, Any], *contents: dict[str, Any], album: str | None = None) -> list[Msg]:
        chat = self._chat(p)
        markup = self._markup(p)
        reply_to = None
        if reply := p.get("reply_parameters"):
            reply_to = chat.find(reply["message_id"])
            if reply_to is None and not reply.get("allow_sending_without_reply"):
                raise ApiError(400, "Bad Request: message to be replied not found")
        thread = p.get("message_thread_id")
        if thread is not None and all(m.thread != thread for m in chat.messages):
            raise ApiError(400, "Bad Request: message thread not found")
        if thread in chat.closed_topics:
            raise ApiError(400, "Bad Request: TOPIC_CLOSED")
        for content in contents:
            self._may_send(chat, content)
        self._admit(chat, len(contents))
        return [
            self.add(chat, self.bot, markup=markup, reply_to=reply_to, thread=thread, album=album, **content)
            for content in contents
        ]

    @staticmethod
    def _may_send(chat: Chat, content: Mapping[str, Any]) -> None:
        if content.get("photo") and not chat.photos_allowed:
            raise ApiError(400, "Bad Request: not enough rights to send photos to the chat")
        if content.get("document") and not chat.documents_allowed:
            raise ApiError(400, "Bad Request: not enough rights to send documents to the chat")

    def _editable(self, p: Mapping[str, Any]) -> Msg:
        if "inline_message_id" in p:
            if p["inline_message_id"] not in self.inline:
                raise ApiError(400, "Bad Request: MESSAGE_ID_INVALID")
            return self.inline[p["inline_message_id"]]
        if "chat_id" not in p or "message_id" not in p:
            raise ApiError(400, "Bad Request: message identifier is not specified")
        message = self._chat(p).find(p["message_id"])
        if message is None:
            raise ApiError(400, "Bad Request: message to edit not found")
        if message.sender is not self.bot:
            raise ApiError(400, "Bad Request: message can't be edited")
        return message

    def _edit(self, message: Msg, p: Mapping[str, Any], **content: Any) -> Any:
        content["markup"] = self._markup(p)
        self._may_send(message.chat, content)
        if all(getattr(message, name) == value for name, value in content.items()):
            raise ApiError(400, NOT_MODIFIED)
        inline = "inline_message_id" in p
        if not inline:
            self._admit(message.chat, 1)
        message.past.append(message.words)
        for name, value in content.items():
            setattr(message, name, value)
        message.edits += 1
        return True if inline else message.json()

    @staticmethod
    def _captioned(p: Mapping[str, Any]) -> dict[str, Any]:
        return {"caption": p.get("caption"), "entities": p.get("caption_entities", [])}

    @staticmethod
    def _text(text: str) -> None:
        if not text.strip():
            raise ApiError(400, "Bad Request: message text is empty")
        if limits.length(text) > limits.TEXT:
            raise ApiError(400, "Bad Request: message is too long")

    @staticmethod
    def _caption(p: Mapping[str, Any]) -> None:
        if limits.length(p.get("caption") or "") > limits.CAPTION:
            raise ApiError(400, "Bad Request: message caption is too long")

    @staticmethod
    def _markup(p: Mapping[str, Any]) -> dict[str, Any] | None:
        markup: dict[str, Any] | None = p.get("reply_markup")
        for row in (markup or {}).get("inline_keyboard", []):
            for button in row:
                data = button.get("callback_data")
                if data is None and button.get("url"):
                    continue
                if data is None or not 1 <= len(data.encode()) <= limits.CALLBACK_BYTES:
                    raise ApiError(400, "Bad Request: BUTTON_DATA_INVALID")
                if not button["text"].strip():
                    raise ApiError(400, "Bad Request: text buttons can't be empty")
        # An empty keyboard and none look the same.
        return markup if markup and any(markup.get("inline_keyboard", [])) else None

    def _medium(self, media: Mapping[str, Any], files: Mapping[str, File]) -> dict[str, Any]:
        if media["type"] == "photo":
            return {"photo": self._photo(media["media"], files)}
        return {"document": self._document(media["media"], files)}

    @staticmethod
    def _upload(reference: str, files: Mapping[str, File]) -> File:
        file = files.get(reference.removeprefix("attach://"))
        if file is None:
            raise ApiError(400, "Bad Request: wrong file identifier/HTTP URL specified")
        if not file.data:
            raise ApiError(400, "Bad Request: file must be non-empty")
        return file

    def _photo(self, reference: str, files: Mapping[str, File]) -> File:
        if reference in self.photos:
            return self.photos[reference]
        file = self._upload(reference, files)
        if len(file.data) > limits.PHOTO_BYTES:
            raise ApiError(413, "Request Entity Too Large")
        try:
            width, height = file.size()
        except UnidentifiedImageError:
            raise ApiError(400, "Bad Request: IMAGE_PROCESS_FAILED") from None
        if width + height > limits.PHOTO_SIDES or max(width, height) > limits.PHOTO_RATIO * min(width, height):
            raise ApiError(400, "Bad Request: PHOTO_INVALID_DIMENSIONS")
        self.photos[file.id] = file
        return file

    def _document(self, reference: str, files: Mapping[str, File]) -> File:
        file = self._upload(reference, files)
        if len(file.data) > limits.DOCUMENT_BYTES:
            raise ApiError(413, "Request Entity Too Large")
        return file
