"""A Telegram Bot API on loopback: checks every call, enforces the limits, and simulates people.

Names of the real API's answers are kept word for word where the bot's behaviour depends on them.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

from tests.fakes.telegram_limits import Flood
from tests.fakes.telegram_methods import ApiError, Query, World
from tests.fakes.telegram_spec import SpecError, spec
from tests.fakes.telegram_world import Chat, File, Msg, Person

T = TypeVar("T")

TOKEN = "42:stand-in"
CONFLICT = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
TERMINATED = "Conflict: terminated by setWebhook request"
WEBHOOK = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"


@dataclass
class Fault:
    """How the next calls of a method fail: refused, or executed and not answered."""

    method: str
    error: ApiError | None
    times: float


class TelegramStandIn:
    """One bot's Bot API and the chats behind it.

    Attributes:
        url: The value for ``EASEL_TELEGRAM_API_URL``.
        problems: Calls that don't fit the specification, as sentences; a good bot leaves it empty.
        calls: Every call that was taken, as (method, parameters).
        refused: Every call that got an error, as (method, status).
        world: The chats.
        held: Methods that are done but not answered while they are in it.
        downloads: Paths of the files that were asked for.
        file_faults: What answers the next downloads instead of the file.
        loose: Answers need not fit the specification, as those of another version of the Bot API would not.
    """

    def __init__(self, *, token: str = TOKEN, flood: Flood | None = None, privacy: bool = True) -> None:
        self.url = ""
        self.token = token
        self.privacy = privacy
        self.problems: list[str] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.refused: list[tuple[str, int]] = []
        self.world = World(Person(42, "Easel", None, is_bot=True, username="easel_bot"), flood or Flood())
        self.world.pending = lambda: len(self.updates)
        self.updates: deque[dict[str, Any]] = deque()
        self.confirmed = 0
        self.held: set[str] = set()
        self.loose = False
        self.downloads: list[str] = []
        self.file_faults: list[Callable[[web.Request], Awaitable[web.StreamResponse]]] = []
        self._faults: list[Fault] = []
        self._update_ids = itertools.count(1001)
        self._people = itertools.count(501)
        self._groups = itertools.count(-2001, -1)
        self._changed = asyncio.Event()
        self._poll: asyncio.Future[None] | None = None
        self._closing = False

    # The server.

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[TelegramStandIn]:
        """Listen on loopback while the context is open."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/bot{token}/{method}", self._handle)
        app.router.add_get("/file/bot{token}/{path:.+}", self._file)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        self._closing = False
        sending = asyncio.create_task(asyncio.sleep(0))
        try:
            site = web.TCPSite(runner, "127.0.0.1", port)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            sending = asyncio.create_task(self._send_updates())
            yield self
        finally:
            self._closing = True
            sending.cancel()
            await asyncio.wait([sending])
            self._wake()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["method"]
        try:
            result = await self._call(request, name)
        except ApiError as error:
            self.refused.append((name, error.status))
            self._tell()
            body: dict[str, Any] = {"ok": False, "error_code": error.status, "description": error.description}
            if error.parameters:
                body["parameters"] = error.parameters
            return web.json_response(body, status=error.status)
        self._tell()
        if self._fault(name, answered=False):
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        return web.json_response({"ok": True, "result": result})

    async def _file(self, request: web.Request) -> web.StreamResponse:
        """The file of an earlier getFile; ``file_faults`` may answer in its place."""
        self.downloads.append(request.match_info["path"])
        self._tell()
        if self.file_faults:
            return await self.file_faults.pop(0)(request)
        file = self.world.file(request.match_info["path"].rpartition("/")[2])
        if request.match_info["token"] != self.token or file is None:
            return web.json_response({"ok": False, "error_code": 404, "description": "Not Found"}, status=404)
        return web.Response(body=file.data)

    async def _call(self, request: web.Request, name: str) -> Any:
        if request.match_info["token"] != self.token:
            raise ApiError(401, "Unauthorized")
        method = spec().method(name)
        if method is None:
            raise ApiError(404, "Not Found: method not found")
        form: dict[str, str] = {}
        files: dict[str, File] = {}
        for key, value in (await request.post()).items():
            if isinstance(value, web.FileField):
                files[key] = File(f"file-{next(self.world.ids)}", value.file.read(), value.filename)
            else:
                form[key] = str(value)
        try:
            parameters = spec().call(method, form, files)
        except SpecError as problem:
            self.problems.append(str(problem))
            raise ApiError(400, f"Bad Request: {problem}") from None
        if fault := self._fault(name, answered=True):
            assert fault.error is not None
            raise fault.error
        self.calls.append((method, {k: v for k, v in parameters.items() if k != "offset"}))
        if method == "getUpdates":
            return await self._get_updates(parameters)
        act = getattr(self.world, method.lower(), None)
        if act is None:
            self.problems.append(f"{method} is not played by the stand-in")
            raise ApiError(404, "Not Found: method not found")
        result = act(parameters, files)
        if not self.loose:
            spec().answer(method, result)
        self._tell()
        while method in self.held:
            await self._changed.wait()
        return result

    def sets_webhook(self, url: str) -> None:
        """Let another program set a webhook, which ends the request for updates that is held."""
        self.world.webhook = url
        if self._poll is not None and self.polled:
            self._poll.set_exception(ApiError(409, TERMINATED))

    async def _get_updates(self, p: dict[str, Any]) -> list[dict[str, Any]]:
        if self.world.webhook:
            raise ApiError(409, WEBHOOK)
        if self._poll is not None and self.polled:
            self._poll.set_exception(ApiError(409, CONFLICT))
        offset = p.get("offset", 0)
        while self.updates and self.updates[0]["update_id"] < offset:
            self.confirmed = self.updates.popleft()["update_id"]
        self._tell()
        if not self.updates and p.get("timeout") and not self._closing:
            poll = self._poll = asyncio.get_running_loop().create_future()
            self._tell()
            try:
                await asyncio.wait_for(poll, p["timeout"])
            except TimeoutError:
                pass
            finally:
                if self._poll is poll:
                    self._poll = None
        return list(self.updates)[: p.get("limit", 100)]

    async def _send_updates(self) -> None:
        """Send updates to the webhook that the bot has set, up to ten at a time; those that are not taken come again."""
        async with aiohttp.ClientSession() as http:
            while True:
                if self.world.webhook_secret and self.updates:
                    some = list(self.updates)[:10]
                    taken = await asyncio.gather(*(self._send_update(http, update) for update in some))
                    for update, ok in zip(some, taken, strict=True):
                        if ok and update in self.updates:
                            self.updates.remove(update)
                    self._tell()
                    if not all(taken):
                        await asyncio.sleep(0.05)
                else:
                    await self._changed.wait()

    async def _send_update(self, http: aiohttp.ClientSession, update: dict[str, Any]) -> bool:
        headers = {"X-Telegram-Bot-Api-Secret-Token": self.world.webhook_secret}
        try:
            async with http.post(self.world.webhook, json=update, headers=headers) as answer:
                self.world.webhook_error = "" if answer.ok else f"Wrong response from the webhook: {answer.status}"
                return answer.ok
        except aiohttp.ClientError:
            self.world.webhook_error = "Connection refused"
            return False

    @property
    def polled(self) -> bool:
        """Whether a bot waits for updates now."""
        return self._poll is not None and not self._poll.done()

    def _fault(self, name: str, *, answered: bool) -> Fault | None:
        for fault in self._faults:
            if fault.method.lower() == name.lower() and (fault.error is not None) is answered:
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
                return fault
        return None

    def _wake(self) -> None:
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(None)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # Faults.

    def refuse(self, method: str, status: int, description: str, times: float = 1, **parameters: int) -> None:
        """Answer the next calls with an error and do nothing."""
        self._faults.append(Fault(method, ApiError(status, description, **parameters), times))

    def cut(self, method: str, times: float = 1) -> None:
        """Do what the next calls ask for, and break the connection instead of answering."""
        self._faults.append(Fault(method, None, times))

    def mend(self) -> None:
        """End all faults."""
        self._faults.clear()

    def answer(self, method: str) -> None:
        """Answer the held calls."""
        self.held.discard(method)
        self._tell()

    # The people.

    def person(self, name: str, language: str | None = "en") -> Person:
        """A new user of Telegram."""
        return Person(next(self._people), name, language)

    def private(self, person: Person) -> Chat:
        """The private chat of a person with the bot (they pressed Start)."""
        chat = Chat(person.id, "private", members={person.id: person})
        self.world.chats[chat.id] = chat
        return chat

    def group(self, title: str, *members: Person, admin: Person | None = None) -> Chat:
        """A group with the bot in it."""
        chat = Chat(next(self._groups), "group", title, {m.id: m for m in members})
        if admin is not None:
            chat.members[admin.id] = admin
            chat.admins.add(admin.id)
        self.world.chats[chat.id] = chat
        return chat

    def upgrade(self, chat: Chat) -> Chat:
        """Turn a group into a supergroup, as both tell the bot; its old id is refused from now on."""
        new = Chat(-1_000_000_000_000 + chat.id, "supergroup", chat.title, chat.members, chat.admins)
        self.world.chats[new.id] = new
        chat.moved_to = new.id
        by = next(iter(chat.members.values()))
        self.push({"message": self.world.add(chat, by).json() | {"migrate_to_chat_id": new.id}})
        self.push({"message": self.world.add(new, by).json() | {"migrate_from_chat_id": chat.id}})
        return new

    def writes(
        self, chat: Chat, person: Person, text: str, *, more: Sequence[dict[str, Any]] = (), **content: Any
    ) -> Msg:
        """Write a message, with ``more`` entities than its command; the bot hears of it as its privacy mode allows."""
        message = self.world.add(chat, person, text=text, **content)
        if text.startswith("/"):
            command = text.split(maxsplit=1)[0]
            message.entities = [{"type": "bot_command", "offset": 0, "length": len(command)}, *more]
        to_bot = message.reply_to is not None and message.reply_to.sender is self.world.bot
        if not chat.is_group or not self.privacy or text.startswith("/") or to_bot:
            self.push({"message": message.json()})
        self._tell()
        return message

    def sends_photo(
        self,
        chat: Chat,
        person: Person,
        photo: bytes,
        caption: str | None = None,
        album: str | None = None,
        **content: Any,
    ) -> Msg:
        """Send a photo, or one of an album."""
        file = File(f"file-{next(self.world.ids)}", photo, "photo.jpg")
        return self._sends_file(chat, person, {"photo": file, "caption": caption, "album": album, **content})

    def sends_file(
        self, chat: Chat, person: Person, data: bytes, name: str, mime: str, caption: str | None = None
    ) -> Msg:
        """Send a file as a document, whatever it is and whatever its sender's app says that it is."""
        file = File(f"file-{next(self.world.ids)}", data, name, mime)
        return self._sends_file(chat, person, {"document": file, "caption": caption})

    def _sends_file(self, chat: Chat, person: Person, content: dict[str, Any]) -> Msg:
        message = self.world.add(chat, person, **content)
        caption = message.caption or ""
        if caption.startswith("/"):
            message.entities = [{"type": "bot_command", "offset": 0, "length": len(caption.split(maxsplit=1)[0])}]
        elif (at := caption.find(f"@{self.world.bot.username}")) >= 0:
            message.entities = [{"type": "mention", "offset": at, "length": 1 + len(self.world.bot.username or "")}]
        to_bot = bool(message.entities) or (message.reply_to is not None and message.reply_to.sender is self.world.bot)
        if not chat.is_group or not self.privacy or to_bot:
            self.push({"message": message.json()})
        self._tell()
        return message

    def presses(self, message: Msg, person: Person, label: str, *, forgotten: bool = False) -> Query:
        """Press the button whose label or data contains ``label``."""
        return self.sends_press(message, person, message.button(label), forgotten=forgotten)

    def sends_press(self, message: Msg, person: Person, data: str, *, forgotten: bool = False) -> Query:
        """Press a button with this data; ``forgotten``: the message is too old for Telegram to tell its content."""
        query = Query(f"query-{next(self.world.ids)}", data)
        self.world.queries[query.id] = query
        shown = message.json()
        if forgotten:
            shown = {"chat": message.chat.json(), "message_id": message.id, "date": 0}
        self.push(
            {
                "callback_query": {
                    "id": query.id,
                    "from": person.json(),
                    "message": shown,
                    "chat_instance": str(message.chat.id),
                    "data": data,
                }
            }
        )
        return query

    def queries(self, person: Person, text: str) -> str:
        """Type the bot's name and these words in any chat; returns the query's id."""
        query = f"inline-{next(self.world.ids)}"
        self.world.offers[query] = {}
        self.push({"inline_query": {"id": query, "from": person.json(), "query": text, "offset": ""}})
        return query

    def chooses(self, person: Person, query: str, result_id: str, *, text: str) -> Msg:
        """Send a result to a chat in which the bot is not; returns the message that comes of it."""
        offer = next(r for r in self.world.offers[query]["results"] if r["id"] == result_id)
        elsewhere = Chat(0, "private", members={person.id: person})
        content = offer.get("input_message_content", {})
        message = Msg(next(self.world.ids), elsewhere, person, 0, text=content.get("message_text"))
        chosen = {"result_id": result_id, "from": person.json(), "query": text}
        if offer.get("reply_markup"):
            # Telegram tells the message's id only where it has buttons.
            message_id = f"inline-message-{message.id}"
            self.world.inline[message_id] = message
            chosen["inline_message_id"] = message_id
        self.push({"chosen_inline_result": chosen})
        return message

    def edits(self, message: Msg, text: str) -> None:
        """Write something else in a message; the bot hears of it as of the message itself."""
        message.text, message.edits = text, message.edits + 1
        self.push({"edited_message": message.json()})

    def channel(self, title: str) -> Chat:
        """A channel with the bot as an admin."""
        chat = Chat(next(self._groups) - 1_000_000_000_000, "channel", title)
        self.world.chats[chat.id] = chat
        return chat

    def posts(self, channel: Chat, text: str) -> Msg:
        """Post in a channel; nobody can tell who of its admins did."""
        message = self.world.add(channel, self.world.bot, text=text, sender_chat=channel)
        self.push({"channel_post": message.json()})
        return message

    def changes_bot(self, chat: Chat, by: Person, status: str, old: str = "member") -> None:
        """Add the bot to a chat, remove it (``kicked``, ``left``), or block it in a private chat (``kicked``)."""
        chat.blocked = status in {"kicked", "left"}
        members: list[dict[str, Any]] = [{"status": one, "user": self.world.bot.json()} for one in (old, status)]
        for member in members:
            if member["status"] == "kicked":
                member["until_date"] = 0
        self.push(
            {
                "my_chat_member": {
                    "chat": chat.json(),
                    "from": by.json(),
                    "date": 0,
                    "old_chat_member": members[0],
                    "new_chat_member": members[1],
                }
            }
        )

    def deletes(self, message: Msg) -> None:
        """Delete a message."""
        message.deleted = True
        self._tell()

    def push(self, content: dict[str, Any]) -> int:
        """Queue an update for the bot; returns its id."""
        update = {"update_id": next(self._update_ids), **content}
        spec().check("update", update, ["Update"])
        self.updates.append(update)
        self._wake()
        self._tell()
        return int(update["update_id"])

    async def until(self, test: Callable[[], T | None], timeout: float = 60) -> T:  # noqa: ASYNC109 - a test's patience
        """Wait for a condition that looks at this stand-in; returns what it returned."""
        try:
            async with asyncio.timeout(timeout):
                while not (found := test()):
                    await self._changed.wait()
                return found
        except TimeoutError:
            raise AssertionError(f"never came true; {self.dump()}") from None

    def first_cards(self) -> dict[int, list[dict[str, Any]]]:
        """Return the texts that were sent about a job that could still be cancelled, by job: what the calls said."""
        found: dict[int, list[dict[str, Any]]] = {}
        for method, parameters in self.calls:
            rows = (parameters.get("reply_markup") or {}).get("inline_keyboard", []) if method == "sendMessage" else []
            for data in (b.get("callback_data", "") for row in rows for b in row):
                if data.startswith("easel:cancel:"):
                    found.setdefault(int(data.split(":")[2]), []).append(parameters)
        return found

    def dump(self) -> str:
        """What everybody sees, for a failing test."""
        lines = [f"problems {self.problems}", f"refused {self.refused}", f"pending {len(self.updates)}"]
        for chat in self.world.chats.values():
            for m in chat.messages:
                sign = "x" if m.deleted else " "
                kind = "photo" if m.photo else "document" if m.document else "text"
                lines.append(f"{chat.id}:{m.id}{sign}{m.sender.name} {kind} {m.words!r} {m.labels}")
        return "\n".join(lines)
