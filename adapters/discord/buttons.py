"""Button presses and forms. Every one is answered, also after a restart and for unknown buttons."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

import discord

from adapters.discord.identity import actor_of, locale_of, place_of, ref_of
from adapters.discord.replies import InteractionAnswer, InteractionReplies
from bot.core.cards import ButtonPress, Card, Tone
from bot.core.errors import BadInput
from bot.studio import Studio


class ComponentPresses:
    """Passes presses to Studio and shows the result."""

    def __init__(self, studio: Studio, replies: InteractionReplies, owners: Container[str]) -> None:
        self._studio = studio
        self._replies = replies
        self._owners = owners

    async def handle(self, interaction: discord.Interaction) -> None:
        """Answer a press or a form. The command tree answers slash commands."""
        if interaction.type is discord.InteractionType.component:
            press = ButtonPress.unpack(interaction.custom_id or "")
            command = None if press is None else self._studio.commands.by_action.get(press.action)
            if command is None or (command.on_private_card and not _is_on_private_card(interaction)):
                press = None
            updates = press is not None and command is not None and command.updates and _is_on_message(interaction)
        elif interaction.type is discord.InteractionType.modal_submit:
            press, updates = None, False
        else:
            return
        private = interaction.message is not None and interaction.message.flags.ephemeral
        await self._replies.respond(
            interaction,
            ref_of(interaction, private=private),
            locale_of(interaction.locale),
            self._answer(interaction, press, private=private, updates=updates),
            private=private or press is None,
            updates=updates,
        )

    async def _answer(
        self, interaction: discord.Interaction, press: ButtonPress | None, *, private: bool, updates: bool
    ) -> InteractionAnswer:
        if press is None:
            form = interaction.type is discord.InteractionType.modal_submit
            raise BadInput("discord.form.old" if form else "refusal.press.unreadable")
        actor, place = actor_of(interaction, self._owners), place_of(interaction)
        pressed = await self._studio.press(actor, place, press, ref_of(interaction, private=private))
        if pressed.new is not None:
            return InteractionAnswer(pressed.new.card, pressed.new.job_id)
        if pressed.card is not None and updates:
            return InteractionAnswer(pressed.card, updates=True, notice=pressed.notice)
        if pressed.card is not None:
            return InteractionAnswer(replace(pressed.card, private=True), notice=pressed.notice)
        if pressed.notice or pressed.files:
            card = Card(
                Tone.INFO, pressed.notice, pictures=pressed.files, private=True, final=True, locale=actor.locale
            )
            return InteractionAnswer(card, as_they_are=True)
        return InteractionAnswer(None)


def _is_on_message(interaction: discord.Interaction) -> bool:
    """Whether the interaction's message has this button, so that the press may change the message."""
    message = interaction.message
    if message is None:
        return False
    buttons = (part for row in message.components if isinstance(row, discord.ActionRow) for part in row.children)
    return any(interaction.custom_id == button.custom_id for button in buttons)


def _is_on_private_card(interaction: discord.Interaction) -> bool:
    """Whether the message has this button and only the person who pressed it sees it."""
    return _is_on_message(interaction) and interaction.message is not None and interaction.message.flags.ephemeral
