"""Messages to the bot: menus and a filter of typed commands, and the handlers. Handlers only save; delivery sends."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

from aiogram import Bot, F, Router
from aiogram.enums import ChatAction, ChatType, ContentType
from aiogram.exceptions import TelegramAPIError
from aiogram.filters import Filter
from aiogram.types import (
    BotCommand,
    BotCommandScopeAllChatAdministrators,
    BotCommandScopeAllGroupChats,
    BotCommandScopeDefault,
    BotCommandScopeUnion,
    Message,
    Update,
    User,
)
from aiogram.utils.formatting import sizeof

from adapters.telegram.admins import Admins
from adapters.telegram.background import BackgroundCalls
from adapters.telegram.client import ApiRetrier
from adapters.telegram.identity import NAME, address_near, author_of, is_channel, is_group, place_of, ref_of
from adapters.telegram.pictures import album_ref, pictures_in, pictures_of, words_to_bot
from adapters.telegram.render import TEXT_LIMIT
from adapters.telegram.replies import ReplyPoster
from bot.commands.model import ArgType, Permission
from bot.core.cards import ButtonPress, Card
from bot.core.errors import Refusal
from bot.core.messages import EventRef
from bot.core.people import Actor
from bot.core.requests import DrawForm
from bot.features import COMMANDS as REGISTRY
from bot.studio import Studio

_WIDE = {ord("！") + offset: ord("!") + offset for offset in range(94)}
"""Full-width forms of ASCII, as Chinese and Japanese keyboards type them."""
_BLANK = "\\s\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
_HEAD = re.compile(
    rf"[{_BLANK}]*/(?P<name>[A-Za-z]+)(?:@(?P<bot>[A-Za-z0-9_]+))?(?![A-Za-z0-9_@])[{_BLANK}]*:?[{_BLANK}]*"
)
_END = re.compile(rf"[{_BLANK}]+\Z")


@dataclass(frozen=True, slots=True)
class TypedCommand:
    """A command.

    Attributes:
        name: In lower case, without its slash.
        rest: The text after it, without the colon and the blanks between.
    """

    name: str
    rest: str


def parse_command(text: str, username: str | None) -> TypedCommand | None:
    """Parse a line that begins with a command; None without a command, or with one for another bot than ``username``."""
    # One character maps to one, so that positions in the folded text are positions in the text.
    folded = text.translate(_WIDE)
    head = _HEAD.match(folded)
    if head is None or (head["bot"] is not None and head["bot"].lower() != (username or "").lower()):
        return None
    begin = head.end()
    if username and re.match(rf"@{re.escape(username)}(?![A-Za-z0-9_])", folded[begin:], re.IGNORECASE):
        begin += 1 + len(username)
        begin += len(folded[begin:]) - len(folded[begin:].lstrip())
    return TypedCommand(head["name"].lower(), _END.sub("", text[begin:]))


class CommandFilter(Filter):
    """Passes messages whose text, or the caption of their media, begins with one of these commands, as ``line``.

    A space after the name is not needed: ``/draw a cat``, ``/draw一只猫``.

    Args:
        names: The commands, without a slash; any command where none is given.
    """

    def __init__(self, *names: str) -> None:
        self._names = frozenset(names)

    async def __call__(self, message: Message, bot: Bot) -> bool | dict[str, Any]:
        """Return the handler's further arguments, or False."""
        line = parse_command(message.text or message.caption or "", (await bot.me()).username)
        if line is None or (self._names and line.name not in self._names):
            return False
        return {"line": line}


def addressed_prompt(message: Message, me: User) -> str | None:
    """Return what a message in a group asks the bot to draw without a command; None where it asks for nothing.

    It begins with the bot's name, or it answers what the bot has said. Answers to its cards and pictures are talk.
    """
    text = message.text or ""
    name = re.match(
        rf"[{_BLANK}]*@{re.escape(me.username or '')}(?![A-Za-z0-9_])[{_BLANK}]*[,:，：]?", text, re.IGNORECASE
    )
    if name is not None and me.username:
        return text[name.end() :].strip()
    said = message.reply_to_message
    if said is None or said.from_user is None or said.from_user.id != me.id or said.text is None or said.reply_markup:
        return None
    return text


class AddressedFilter(Filter):
    """Passes messages of groups that ask the bot to draw without a command, as ``line``."""

    async def __call__(self, message: Message, bot: Bot) -> bool | dict[str, Any]:
        """Return the handler's further arguments, or False."""
        if not is_group(message.chat) or is_channel(message) or parse_command(message.text or "", None) is not None:
            return False
        prompt = addressed_prompt(message, await bot.me())
        return False if prompt is None else {"line": TypedCommand("draw", prompt)}


class IgnoredSenders:
    """Handles messages of bots and channels before any other handler.

    Args:
        studio: Knows the language of its people.
        replies: Saves replies.
        commands: Commands that a channel is told it can't use.
    """

    def __init__(self, studio: Studio, replies: ReplyPoster, commands: tuple[str, ...]) -> None:
        self._studio = studio
        self._replies = replies
        self._commands = commands

    def router(self) -> Router:
        """Return the routes: messages of bots, and commands of channels."""
        router = Router(name="senders")
        router.message.register(self.ignore, _is_bot)
        router.message.register(self.channel, _is_channel, CommandFilter(*self._commands))
        return router

    async def ignore(self, _: Message) -> None:
        """Ignore a bot: two bots that answer each other would never stop."""

    async def channel(self, message: Message, event_update: Update) -> None:
        """Refuse a channel: its author is unknown, so bans and quotas could not be applied."""
        actor = author_of(message, (), self._studio)
        card = self._replies.notice("telegram.as_channel", actor)
        await self._replies.post(message, actor, event_update.update_id, card, kind="as_channel")


def _is_bot(message: Message, bot: Bot) -> bool:
    user = message.from_user
    # Messages in the name of a chat have one of Telegram's own bots as their author.
    others = user is not None and user.is_bot and (message.sender_chat is None or not is_group(message.chat))
    return others or bool(message.is_automatic_forward) or (user is not None and user.id == bot.id)


def _is_channel(message: Message) -> bool:
    return is_channel(message)


class ChatMigrations:
    """Moves a group's settings to its new id when it becomes a supergroup.

    Args:
        studio: The core.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def router(self) -> Router:
        """Return the routes: Telegram's last message in the old group, and its first one in the new group."""
        router = Router(name="moves")
        router.message.register(self.left, F.migrate_to_chat_id)
        router.message.register(self.came, F.migrate_from_chat_id)
        return router

    async def left(self, message: Message) -> None:
        """Handle the old group's message with the new id."""
        await self._studio.place_moved(NAME, str(message.chat.id), str(message.migrate_to_chat_id))

    async def came(self, message: Message) -> None:
        """Handle the new group's message with the old id; usually the move is known by then."""
        await self._studio.place_moved(NAME, str(message.migrate_from_chat_id), str(message.chat.id))


DRAWING = ("draw", "imagine")
"""The commands of the registry whose line is handled like a plain prompt in a private chat."""


_TAKING = tuple(c for c in REGISTRY.typed if any(arg.type is ArgType.PICTURE for arg in c.args))

PICTURED = tuple(c.name for c in _TAKING if c.args[0].type is not ArgType.PICTURE)
"""The commands of the registry that take pictures. A line with a picture is handled like a picture with words."""

WORDLESS = tuple(c.name for c in _TAKING if c.name not in PICTURED)
"""The commands of the registry that take a picture and no words."""


def _has_picture(message: Message) -> bool:
    return bool(pictures_in(message))


def _replies_to_picture(message: Message) -> bool:
    return bool(pictures_in(message.reply_to_message))


FIRST_WORDS = tuple(dict.fromkeys(c.name.partition(" ")[0] for c in REGISTRY.typed if c.name not in DRAWING))
"""The first word of every other command of the registry."""

COMMANDS = (*DRAWING, "history", "cancel", "help", "start", *FIRST_WORDS)
"""Every command."""


def _menu(*permissions: Permission, personal: bool) -> tuple[str, ...]:
    listed = [c for c in REGISTRY.typed if c.listed and c.permission in permissions and (personal or not c.personal)]
    words = dict.fromkeys(command.name.partition(" ")[0] for command in listed)
    return tuple(dict.fromkeys(("draw", "history", *words, "cancel", "help")))


IN_PRIVATE = _menu(Permission.ANYBODY, personal=True)
IN_GROUPS = _menu(Permission.ANYBODY, personal=False)
FOR_ADMINS = _menu(Permission.ANYBODY, Permission.ADMIN, personal=False)
"""What Telegram's menu lists in private chats, in groups, and there for admins."""

_LANGUAGES = {"": "en", "zh": "zh_CN"}
_SECONDS = 10


async def offer_menus(bot: Bot, studio: Studio, retrier: ApiRetrier) -> None:
    """Tell Telegram the menus in each language, until it takes them."""
    scopes: dict[BotCommandScopeUnion, tuple[str, ...]] = {
        BotCommandScopeDefault(): IN_PRIVATE,
        BotCommandScopeAllGroupChats(): IN_GROUPS,
        BotCommandScopeAllChatAdministrators(): FOR_ADMINS,
    }
    left_out = {command.name for command in REGISTRY.typed if not studio.offers(command)}
    for (scope, names), (code, locale) in product(scopes.items(), _LANGUAGES.items()):
        commands = [
            BotCommand(command=name, description=studio.text(f"telegram.command.{name}", locale))
            for name in names
            if name not in left_out
        ]
        offer = partial(bot.set_my_commands, commands, scope, language_code=code or None, request_timeout=_SECONDS)
        await retrier.call(offer)


_MEDIA = {
    ContentType.ANIMATION,
    ContentType.AUDIO,
    ContentType.CHECKLIST,
    ContentType.CONTACT,
    ContentType.DICE,
    ContentType.DOCUMENT,
    ContentType.GAME,
    ContentType.LOCATION,
    ContentType.PAID_MEDIA,
    ContentType.PHOTO,
    ContentType.POLL,
    ContentType.STICKER,
    ContentType.STORY,
    ContentType.VENUE,
    ContentType.VIDEO,
    ContentType.VIDEO_NOTE,
    ContentType.VOICE,
}


class MessageCommands:
    """Handlers of messages.

    Args:
        studio: The core.
        me: The bot's own account.
        owners: User ids of this Easel's owners.
        background: Runs calls that need not be saved.
        replies: Saves replies that are not job cards.
        admins: Looks up group administrators, for requests that need the right.
    """

    def __init__(
        self,
        studio: Studio,
        me: User,
        owners: Container[str],
        *,
        background: BackgroundCalls,
        replies: ReplyPoster,
        admins: Admins,
    ) -> None:
        self._studio = studio
        self._me = me
        self._owners = owners
        self._background = background
        self._replies = replies
        self._admins = admins
        self._whole: dict[str, int] = {}

    def router(self) -> Router:
        """Return the routes: commands everywhere, also in captions; plain text and other content only in private chats."""
        router = Router(name="messages")
        private = F.chat.type == ChatType.PRIVATE
        router.message.register(self.draw, F.text, CommandFilter(*DRAWING))
        router.message.register(self.history, F.text, CommandFilter("history"))
        router.message.register(self.cancel, F.text, CommandFilter("cancel"))
        router.message.register(self.start, F.text, CommandFilter("start"))
        router.message.register(self.help, F.text, CommandFilter("help"))
        router.message.register(self.draw, F.text, CommandFilter(*PICTURED), _replies_to_picture)
        router.message.register(self.draw, F.caption, CommandFilter(*PICTURED), _has_picture)
        router.message.register(self.unknown, private, F.text.startswith("/"))
        router.message.register(self.unknown, private, F.text, CommandFilter())
        router.message.register(self.prompt, private, F.text)
        router.message.register(self.draw, F.text, AddressedFilter())
        # A channel's posts are written by its admins alone.
        router.channel_post.register(self.draw, F.text, CommandFilter(*DRAWING))
        router.channel_post.register(self.draw, F.text, CommandFilter(*PICTURED), _replies_to_picture)
        router.channel_post.register(self.draw, F.caption, CommandFilter(*PICTURED), _has_picture)
        router.channel_post.register(self.history, F.text, CommandFilter("history"))
        router.channel_post.register(self.cancel, F.text, CommandFilter("cancel"))
        router.channel_post.register(self.help, F.text, CommandFilter("help", "start"))
        router.message.register(self.media, F.caption, CommandFilter(*COMMANDS))
        router.message.register(self.captioned, _has_picture, self._addressed)
        router.message.register(self.about_picture, ~private, F.text, _replies_to_picture, self._addressed)
        router.message.register(self.part_of_album, _has_picture, F.media_group_id, ~F.caption)
        router.message.register(self.media, private, F.content_type.in_(_MEDIA))
        return router

    async def draw(self, message: Message, line: TypedCommand, event_update: Update) -> None:
        """``/draw PROMPT``."""
        await self._draw(message, line.rest, event_update.update_id)

    async def prompt(self, message: Message, event_update: Update) -> None:
        """A private message is a prompt."""
        if not self._is_tail(message):
            await self._draw(message, message.text or "", event_update.update_id)

    async def captioned(self, message: Message, event_update: Update, words: str) -> None:
        """A picture whose caption says what to do with it."""
        await self._draw(message, words, event_update.update_id)

    async def about_picture(self, message: Message, event_update: Update, words: str) -> None:
        """Words to the bot in a group that reply to a picture."""
        await self._draw(message, words, event_update.update_id)

    async def part_of_album(self, message: Message, event_update: Update) -> None:
        """A picture of an album in a group; another one of the album may be addressed to the bot."""
        actor = author_of(message, self._owners, self._studio)
        form = DrawForm(prompt="", sources=pictures_in(message))
        ref = album_ref(message, address_near(message, actor))
        try:
            await self._studio.add_to_album(actor, place_of(message), form, ref, begins=False)
        except Refusal as refusal:
            await self._replies.refuse(message, actor, event_update.update_id, refusal)

    async def history(self, message: Message, event_update: Update) -> None:
        """``/history``: the author's own pictures, in private chats only."""
        actor = author_of(message, self._owners, self._studio)
        if is_group(message.chat):
            card = self._replies.notice("telegram.history_in_private", actor, bot=f"https://t.me/{self._me.username}")
        else:
            card = await self._studio.history(actor, place_of(message))
        await self._replies.post(message, actor, event_update.update_id, card, kind="history")

    async def cancel(self, message: Message, event_update: Update) -> None:
        """``/cancel``: cancel the author's unfinished jobs."""
        actor, place = author_of(message, self._owners, self._studio), place_of(message)
        address = address_near(message, actor)
        stopped = 0
        for card in await self._studio.items(actor):
            if card.job_id is None or card.final:
                continue
            ref = ref_of(event_update.update_id, address, str(card.job_id))
            try:
                await self._studio.press(actor, place, ButtonPress("cancel", card.job_id), ref)
            except Refusal:
                continue  # it has just ended by itself
            stopped += 1
        notice = (
            self._replies.notice("telegram.cancelled", actor, n=stopped)
            if stopped
            else self._replies.notice("telegram.nothing_to_cancel", actor)
        )
        await self._replies.post(message, actor, event_update.update_id, notice, kind="cancel")

    async def start(self, message: Message, event_update: Update) -> None:
        """``/start``: greet, with examples to press."""
        actor = author_of(message, self._owners, self._studio)
        card = self._studio.start(actor.locale)
        await self._replies.post(message, actor, event_update.update_id, card, kind="start")

    async def help(self, message: Message, event_update: Update) -> None:
        """``/help``."""
        actor = author_of(message, self._owners, self._studio)
        card = self._studio.help(actor.locale)
        examples = self._studio.text("telegram.examples", actor.locale)
        card = replace(card, notes=(examples, *card.notes))
        await self._replies.post(message, actor, event_update.update_id, card, kind="help")

    async def unknown(self, message: Message, event_update: Update) -> None:
        """Answer an unknown command; it is not taken for a prompt."""
        actor = author_of(message, self._owners, self._studio)
        typed = (message.text or "").split(maxsplit=1)[0]
        notice = self._replies.notice("telegram.unknown_command", actor, command=typed[:32], known="/help")
        await self._replies.post(message, actor, event_update.update_id, notice, kind="unknown")

    async def media(self, message: Message, event_update: Update) -> None:
        """Answer voice messages, stickers and the like: only words and pictures can be drawn."""
        actor = author_of(message, self._owners, self._studio)
        notice = self._replies.notice("telegram.text_only", actor)
        await self._replies.post(message, actor, event_update.update_id, notice, kind="media")

    async def _draw(self, message: Message, prompt: str, update_id: int) -> None:
        actor = author_of(message, self._owners, self._studio)
        form = DrawForm(prompt=prompt, sources=pictures_of(message))
        ref = ref_of(update_id, address_near(message, actor))

        async def admit(actor: Actor) -> Card | None:
            return await self._admit(message, actor, form, ref)

        try:
            card = await self._admins.attempt(self._studio, message, actor, admit)
        except Refusal as refusal:
            await self._replies.refuse(message, actor, update_id, refusal)
            return
        if card is not None and card.private and is_group(message.chat):
            self._background.start(self._reach(message, actor, update_id), "a private chat could not be looked for")

    async def _admit(self, message: Message, actor: Actor, form: DrawForm, ref: EventRef) -> Card | None:
        """Save the request; returns its card, or None for a part of an album."""
        place = place_of(message)
        if not form.sources:
            return await self._studio.draw_or_write(actor, place, form, ref)
        if message.media_group_id is None or not pictures_in(message):
            return await self._studio.draw_from_sources(actor, place, form, ref)
        album = album_ref(message, address_near(message, actor))
        await self._studio.add_to_album(actor, place, form, album, begins=True)
        return None

    def _addressed(self, message: Message) -> bool | dict[str, str]:
        """Pass messages that are addressed to the bot, with their ``words``."""
        words = words_to_bot(message, self._me)
        return False if words is None else {"words": words}

    async def _reach(self, message: Message, actor: Actor, update_id: int) -> None:
        """Tell the asker of a private picture if they have never opened a chat with the bot."""
        assert message.bot is not None
        try:
            await message.bot.send_chat_action(int(actor.user_id), ChatAction.TYPING)
            reached = not actor.user_id.startswith("-")  # a group that writes has no private chat
        except TelegramAPIError:
            reached = False
        if not reached:
            card = self._replies.notice("telegram.open_private", actor, bot=f"https://t.me/{self._me.username}")
            await self._replies.post(message, actor, update_id, card, kind="open_private", part="private")

    def _is_tail(self, message: Message) -> bool:
        """Whether this is the rest of a message that Telegram's app split at the length limit, and no prompt of its
        own.
        """
        chat = str(message.chat.id)
        follows = self._whole.pop(chat, None) == message.message_id - 1
        if sizeof(message.text or "") >= TEXT_LIMIT:
            self._whole[chat] = message.message_id
        return follows
