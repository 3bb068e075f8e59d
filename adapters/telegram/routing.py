"""Messages that no command handles: those of bots and channels, and a group's change of id."""

from __future__ import annotations

from aiogram import Bot, F, Router
from aiogram.types import Message, Update

from adapters.telegram.command_filter import CommandFilter
from adapters.telegram.identity import NAME, author_of, is_channel, is_group
from adapters.telegram.replies import ReplyPoster
from bot.studio import Studio


class IgnoredSenders:
    """Handles messages of bots and channels before any other handler.

    Args:
        replies: Saves replies.
        commands: Commands that a channel is told it can't use.
    """

    def __init__(self, replies: ReplyPoster, commands: tuple[str, ...]) -> None:
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
        actor = author_of(message, ())
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
