"""Inline mode: one's own pictures and "draw this" in any chat, and the messages that come of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container
from dataclasses import replace
from pathlib import Path

from aiogram import Bot, F, Router
from aiogram.enums import ChatAction
from aiogram.types import (
    ChosenInlineResult,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InlineQuery,
    InlineQueryResultArticle,
    InlineQueryResultCachedPhoto,
    InlineQueryResultsButton,
    InlineQueryResultUnion,
    InputTextMessageContent,
    Message,
    Update,
    User,
)
from aiogram.utils.formatting import Pre, Text

from adapters.telegram.background import BackgroundCalls
from adapters.telegram.errors import CALL_ERRORS
from adapters.telegram.identity import NAME, actor_of, inline_address, ref_of
from adapters.telegram.render import clip
from bot.core.errors import Refusal
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from bot.studio import Studio

log = logging.getLogger(__name__)

DRAW = "draw"
"""Id of the result that draws; the others are pictures."""

_PICTURES = 20
_CACHE_SECONDS = 3
_REACHED_SECONDS, _UNREACHED_SECONDS = 600.0, 10.0
_REMEMBERED = 1024
_SECONDS = 8
_TITLE = 60


class SentPhotos:
    """Telegram's ids of the photos that it has, so that they need no other upload."""

    def __init__(self) -> None:
        self._known: dict[Path, str] = {}
        self._keep: Callable[[Path, str], None] | None = None

    def use(self, keep: Callable[[Path, str], None] | None) -> None:
        """Keep the id of each photo by this call from now on; None: in memory alone."""
        self._keep = keep

    def known(self, path: Path) -> str | None:
        """Return the id of a picture that was sent lately."""
        return self._known.get(path)

    def add(self, path: Path, message: Message | bool) -> None:
        """Record the photo of a message that shows a stored picture; a message without one is left alone."""
        if not isinstance(message, Message) or not message.photo:
            return
        if len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        remote = self._known[path] = message.photo[-1].file_id
        if self._keep is not None:
            self._keep(path, remote)


class PrivateChats:
    """Knows which people have opened a chat with the bot: nothing can be sent to others.

    Args:
        bot: The API client.
        clock: Seconds; only differences count.
    """

    def __init__(self, bot: Bot, clock: Callable[[], float] = time.monotonic) -> None:
        self._bot = bot
        self._clock = clock
        self._known: dict[int, tuple[float, bool]] = {}

    async def includes(self, user_id: int) -> bool:
        """Whether the bot can write to the person."""
        now = self._clock()
        until, reached = self._known.get(user_id, (0.0, False))
        if until > now:
            return reached
        if len(self._known) > _REMEMBERED:
            self._known = {key: known for key, known in self._known.items() if known[0] > now}
        try:
            await self._bot.send_chat_action(user_id, ChatAction.TYPING, request_timeout=_SECONDS)
            reached = True
        except CALL_ERRORS:
            reached = False
        self._known[user_id] = (now + (_REACHED_SECONDS if reached else _UNREACHED_SECONDS), reached)
        return reached


class InlineQueries:
    """Handlers of inline mode.

    Args:
        studio: The core.
        me: The bot's own account.
        owners: User ids of this Easel's owners.
        background: Runs calls that need not be saved.
        chats: Knows who can be written to; None where pictures are stored in a chat of their own.
    """

    def __init__(
        self,
        studio: Studio,
        me: User,
        owners: Container[str],
        *,
        background: BackgroundCalls,
        chats: PrivateChats | None,
    ) -> None:
        self._studio = studio
        self._me = me
        self._owners = owners
        self._background = background
        self._chats = chats

    def router(self) -> Router:
        """Return the routes: a query while it is typed, and the result that was sent."""
        router = Router(name="inline")
        router.inline_query.register(self.query)
        router.chosen_inline_result.register(self.chosen, F.result_id == DRAW)
        return router

    async def query(self, query: InlineQuery, bot: Bot) -> None:
        """Offer the actor's own pictures that match the words, and to draw the words."""
        actor, words = actor_of(query.from_user, self._owners, self._studio), query.query.strip()
        results: list[InlineQueryResultUnion] = []
        reached = self._chats is None or await self._chats.includes(query.from_user.id)
        if words and reached:
            results.append(self._article(words, actor.locale))
        results += [
            InlineQueryResultCachedPhoto(
                id=f"{sent.job_id}-{sent.index}", photo_file_id=sent.remote, title=clip(sent.prompt, _TITLE)
            )
            for sent in await self._studio.sent_pictures(actor, words, limit=_PICTURES)
        ]
        button = None
        if not reached:
            text = self._studio.text("telegram.inline.open", actor.locale)
            button = InlineQueryResultsButton(text=text, start_parameter="inline")

        async def answer() -> None:
            await bot.answer_inline_query(
                query.id,
                results,
                cache_time=_CACHE_SECONDS,
                is_personal=True,
                button=button,
                request_timeout=_SECONDS,
            )

        self._background.start(answer(), "an inline query could not be answered")

    async def chosen(self, result: ChosenInlineResult, event_update: Update) -> None:
        """Draw what was sent; delivery shows it in the message that came of it."""
        if result.inline_message_id is None:
            return
        actor = actor_of(result.from_user, self._owners, self._studio)
        ref = ref_of(event_update.update_id, inline_address(result.inline_message_id, actor))
        try:
            await self._studio.draw(actor, _private(actor), DrawForm(prompt=result.query.strip()), ref)
        except Refusal as refusal:
            card = self._studio.refused(refusal, actor.locale)
            await self._studio.post_notice(ref, replace(card, private=False))

    def _article(self, words: str, locale: str) -> InlineQueryResultArticle:
        text, entities = Text("⏳ ", Pre(words)).render()
        # Without a keyboard, Telegram does not tell which message came of the result.
        link = InlineKeyboardButton(text=f"@{self._me.username}", url=f"https://t.me/{self._me.username}")
        return InlineQueryResultArticle(
            id=DRAW,
            title=self._studio.text("telegram.inline.draw", locale),
            description=words,
            input_message_content=InputTextMessageContent(message_text=text, entities=entities),
            reply_markup=InlineKeyboardMarkup(inline_keyboard=[[link]]),
        )


def _private(actor: Actor) -> Place:
    """Return the place of an inline request: nobody tells the bot in which chat it is, so its person's own rules hold."""
    return Place(platform=NAME, guild=None, channel=actor.user_id)
