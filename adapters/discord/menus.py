"""Context menus of messages and people: commands of the registry that are picked from them."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from typing import Any

import discord
from discord import app_commands
from discord.app_commands import locale_str

from adapters.discord.identity import actor_of, place_of, ref_of, roles_of
from adapters.discord.render import custom_ids
from adapters.discord.replies import InteractionAnswer, InteractionReplies
from adapters.discord.sources import pictures_in
from bot.commands.model import Command, Invocation, PickedOn
from bot.core.cards import ButtonPress, Card, Tone
from bot.core.errors import BadInput
from bot.features import COMMANDS
from bot.studio import Studio


class ContextMenus:
    """Builds the entries, and answers them.

    Args:
        studio: The core.
        replies: Answers interactions.
        owners: User ids of this Easel's owners.
    """

    def __init__(self, studio: Studio, replies: InteractionReplies, owners: Container[str]) -> None:
        self._studio = studio
        self._replies = replies
        self._owners = owners

    def build(self) -> list[app_commands.ContextMenu]:
        """Return an entry for each command that is picked on a message's pictures, a message or a person."""
        on_pictures = (command for command in COMMANDS.by_action.values() if command.on_pictures)
        return [
            *(self._pictures_entry(command) for command in on_pictures),
            *(self._entry(command) for command in COMMANDS.picked),
        ]

    def _pictures_entry(self, command: Command) -> app_commands.ContextMenu:
        async def on_pictures(interaction: discord.Interaction, message: discord.Message) -> None:
            await self._on_pictures(interaction, command, message)

        return app_commands.ContextMenu(name=self._named(f"button.{command.action}"), callback=on_pictures)

    def _entry(self, command: Command) -> app_commands.ContextMenu:
        async def on_message(interaction: discord.Interaction, message: discord.Message) -> None:
            await self._on_message(interaction, command, message)

        async def on_person(interaction: discord.Interaction, person: discord.User | discord.Member) -> None:
            await self._on_person(interaction, command, person)

        key = f"discord.menu.{(command.name or command.action).replace(' ', '.')}"
        callback: Any = on_message if command.picked_on is PickedOn.MESSAGE else on_person
        return app_commands.ContextMenu(name=self._named(key), callback=callback)

    def _named(self, key: str) -> locale_str:
        """Return the English name with the key of its translations."""
        return locale_str(self._studio.text(key, "en"), key=key)

    async def _on_pictures(self, interaction: discord.Interaction, command: Command, message: discord.Message) -> None:
        actor, place = actor_of(interaction, self._owners, self._studio), place_of(interaction)
        ref, pictures = ref_of(interaction, private=True), pictures_in(message)

        async def work() -> InteractionAnswer:
            result = await self._studio.choose_pictures(actor, place, command.action, pictures, ref)
            assert result.form is not None, f"{command.action} opens a form"
            return InteractionAnswer(self._studio.typed_form(result.form, actor.locale), form=result.form)

        await self._replies.respond(interaction, ref, actor.locale, work(), private=True, opens=True)

    async def _on_message(self, interaction: discord.Interaction, command: Command, message: discord.Message) -> None:
        actor, place = actor_of(interaction, self._owners, self._studio), place_of(interaction)
        private = not command.name or command.private
        ref = ref_of(interaction, private=private)

        async def work() -> InteractionAnswer:
            job_id = _job_on(message, interaction.application_id)
            if job_id is None and command.pictures_by and (pictures := pictures_in(message)):
                other = COMMANDS.by_name[command.pictures_by]
                card = await self._studio.command(Invocation(actor, place, other, ref, pictures=pictures))
                return InteractionAnswer(replace(card, private=True))
            if job_id is None:
                raise BadInput("discord.menu.no_job")
            if command.name:
                args = {command.args[0].name: str(job_id)}
                card = await self._studio.command(Invocation(actor, place, command, ref, args))
                return InteractionAnswer(card, card.job_id)
            pressed = await self._studio.press(actor, place, ButtonPress(command.action, job_id, 0), ref)
            found = pressed.card or Card(Tone.INFO, pressed.notice, final=True, locale=actor.locale)
            return InteractionAnswer(replace(found, private=True))

        await self._replies.respond(interaction, ref, actor.locale, work(), private=private)

    async def _on_person(
        self, interaction: discord.Interaction, command: Command, person: discord.User | discord.Member
    ) -> None:
        actor, place = actor_of(interaction, self._owners, self._studio), place_of(interaction)
        ref = ref_of(interaction, private=True)
        args: dict[str, str] = {}
        if str(person.id) != actor.user_id:
            args["person"] = str(person.id)
        names, theirs = {"person": person.display_name}, {"person": roles_of(person)}
        invocation = Invocation(actor, place, command, ref, args, names if args else {}, theirs if args else {})

        async def work() -> InteractionAnswer:
            return InteractionAnswer(replace(await self._studio.command(invocation), private=True))

        await self._replies.respond(interaction, ref, actor.locale, work(), private=True)


def _job_on(message: discord.Message, application_id: int) -> int | None:
    """Return the job whose card a message of this bot shows, by its buttons; None for any other message."""
    if application_id not in {message.author.id, message.application_id}:
        return None
    for custom_id in custom_ids(message.components):
        press = ButtonPress.unpack(custom_id)
        command = None if press is None else COMMANDS.by_action.get(press.action)
        if press is not None and command is not None and command.on_job:
            return press.job_id
    return None
