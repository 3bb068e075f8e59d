"""Messages to the bot. Handlers only save; delivery sends. An update is confirmed once it is saved."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from aiogram import F, Router
from aiogram.enums import ChatAction, ChatType, ContentType
from aiogram.exceptions import TelegramAPIError
from aiogram.types import Message, Update, User
from aiogram.utils.formatting import sizeof

from adapters.telegram.background import BackgroundCalls
from adapters.telegram.identity import address_near, author_of, is_group, place_of, ref_of
from adapters.telegram.registry_commands import FIRST_WORDS
from adapters.telegram.render import TEXT_LIMIT
from adapters.telegram.replies import ReplyPoster
from adapters.telegram.routing import CommandFilter, TypedCommand
from bot.core.cards import ButtonPress
from bot.core.errors import Refusal
from bot.core.people import Actor
from bot.core.requests import DrawForm
from bot.studio import Studio

COMMANDS = ("draw", "history", "cancel", "help", "start", *FIRST_WORDS)
"""Every command."""

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
    """

    def __init__(
        self, studio: Studio, me: User, owners: Container[str], background: BackgroundCalls, replies: ReplyPoster
    ) -> None:
        self._studio = studio
        self._me = me
        self._owners = owners
        self._background = background
        self._replies = replies
        self._whole: dict[str, int] = {}

    def router(self) -> Router:
        """Return the routes: commands everywhere, also in captions; plain text and other content only in private chats."""
        router = Router(name="messages")
        private = F.chat.type == ChatType.PRIVATE
        router.message.register(self.draw, F.text, CommandFilter("draw"))
        router.message.register(self.history, F.text, CommandFilter("history"))
        router.message.register(self.cancel, F.text, CommandFilter("cancel"))
        router.message.register(self.help, F.text, CommandFilter("help", "start"))
        router.message.register(self.unknown, private, F.text.startswith("/"))
        router.message.register(self.unknown, private, F.text, CommandFilter())
        router.message.register(self.prompt, private, F.text)
        router.message.register(self.media, F.caption, CommandFilter(*COMMANDS))
        router.message.register(self.media, private, F.content_type.in_(_MEDIA))
        return router

    async def draw(self, message: Message, line: TypedCommand, event_update: Update) -> None:
        """``/draw PROMPT``."""
        await self._draw(message, line.rest, event_update.update_id)

    async def prompt(self, message: Message, event_update: Update) -> None:
        """A private message is a prompt."""
        if not self._is_tail(message):
            await self._draw(message, message.text or "", event_update.update_id)

    async def history(self, message: Message, event_update: Update) -> None:
        """``/history``: the author's own pictures, in private chats only."""
        actor = author_of(message, self._owners)
        if is_group(message.chat):
            card = self._replies.notice("telegram.history_in_private", actor, bot=f"https://t.me/{self._me.username}")
        else:
            card = await self._studio.history(actor, place_of(message))
        await self._replies.post(message, actor, event_update.update_id, card, kind="history")

    async def cancel(self, message: Message, event_update: Update) -> None:
        """``/cancel``: cancel the author's unfinished jobs."""
        actor, place = author_of(message, self._owners), place_of(message)
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

    async def help(self, message: Message, event_update: Update) -> None:
        """``/help`` and ``/start``."""
        actor = author_of(message, self._owners)
        card = self._studio.help(actor.locale)
        examples = self._studio.text("telegram.examples", actor.locale)
        card = replace(card, notes=(*card.notes, examples))
        await self._replies.post(message, actor, event_update.update_id, card, kind="help")

    async def unknown(self, message: Message, event_update: Update) -> None:
        """Answer an unknown command; it is not taken for a prompt."""
        actor = author_of(message, self._owners)
        typed = (message.text or "").split(maxsplit=1)[0]
        notice = self._replies.notice("telegram.unknown_command", actor, command=typed[:32], known="/help")
        await self._replies.post(message, actor, event_update.update_id, notice, kind="unknown")

    async def media(self, message: Message, event_update: Update) -> None:
        """Answer photos, voice messages and the like: only text can be drawn."""
        actor = author_of(message, self._owners)
        notice = self._replies.notice("telegram.text_only", actor)
        await self._replies.post(message, actor, event_update.update_id, notice, kind="media")

    async def _draw(self, message: Message, prompt: str, update_id: int) -> None:
        actor = author_of(message, self._owners)
        try:
            shown = await self._studio.draw(
                actor, place_of(message), DrawForm(prompt=prompt), ref_of(update_id, address_near(message, actor))
            )
        except Refusal as refusal:
            await self._replies.refuse(message, actor, update_id, refusal)
            return
        if shown.card.private and is_group(message.chat):
            self._background.start(self._reach(message, actor, update_id), "a private chat could not be looked for")

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
