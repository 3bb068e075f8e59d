"""Senders that are not answered: other bots, the bot itself, and people who write as a channel."""

from __future__ import annotations

from aiogram import Bot, Router
from aiogram.types import Message, Update

from adapters.telegram.answers import Answers
from adapters.telegram.identity import author_of, is_channel, is_group
from adapters.telegram.typed import Typed
from bot.model.cards import Card, Tone
from bot.studio import Studio


class Senders:
    """Takes the messages that nobody else shall see.

    Args:
        studio: The core.
        answers: Where answers go.
        commands: What a channel is told that it can't be used by.
    """

    def __init__(self, studio: Studio, answers: Answers, commands: tuple[str, ...]) -> None:
        self._studio = studio
        self._answers = answers
        self._commands = commands

    def router(self) -> Router:
        """The routes: messages of bots, and commands of channels."""
        router = Router(name="senders")
        router.message.register(self.ignore, _is_bot)
        router.message.register(self.channel, _is_channel, Typed(*self._commands))
        return router

    async def ignore(self, _: Message) -> None:
        """Two bots that answer each other would never stop."""

    async def channel(self, message: Message, event_update: Update) -> None:
        """Telegram does not tell who writes as a channel: bans and quotas would count for nobody."""
        actor = author_of(message, ())
        card = Card(Tone.INFO, self._studio.text("telegram.as_channel", actor.locale), final=True)
        await self._answers.post(message, actor, event_update.update_id, card, kind="as_channel")


def _is_bot(message: Message, bot: Bot) -> bool:
    user = message.from_user
    # Telegram names a bot of its own as the author of what is written in the name of a chat.
    others = user is not None and user.is_bot and (message.sender_chat is None or not is_group(message.chat))
    return others or bool(message.is_automatic_forward) or (user is not None and user.id == bot.id)


def _is_channel(message: Message) -> bool:
    return is_channel(message)
