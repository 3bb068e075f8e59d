"""Slash commands: their options, their names in each language, and their calls of Studio."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Container, Mapping
from dataclasses import replace

import discord
from discord import app_commands
from discord.app_commands import locale_str

from adapters.discord import registry_commands
from adapters.discord.identity import LOCALES, actor_of, locale_of, place_of, ref_of
from adapters.discord.replies import InteractionAnswer, InteractionReplies
from adapters.discord.settings import LIMITS
from bot.commands.model import Command, Invocation
from bot.core.requests import DrawForm
from bot.studio import Studio

CHOICES, CHOICE_CHARS = 25, 100
OPTIONS = ("prompt", "size", "count", "seed", "negative", "private")


class CatalogueTranslator(app_commands.Translator):
    """Takes names and descriptions in other languages from the catalogue."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    async def translate(
        self,
        string: locale_str,
        locale: discord.Locale,
        context: app_commands.TranslationContextTypes,  # noqa: ARG002 - discord.py passes it
    ) -> str | None:
        """Return the translation in a supported language; None keeps the English text."""
        key, code = string.extras.get("key"), LOCALES.get(locale)
        return self._studio.text(key, code) if key and code else None


class EaselCommandTree(app_commands.CommandTree[discord.Client]):
    """The commands of one client."""

    def __init__(
        self, client: discord.Client, studio: Studio, replies: InteractionReplies, owners: Container[str]
    ) -> None:
        super().__init__(
            client,
            allowed_contexts=app_commands.AppCommandContext(guild=True, dm_channel=True, private_channel=True),
            allowed_installs=app_commands.AppInstallationType(guild=True, user=True),
        )
        self._studio = studio
        self._replies = replies
        self._owners = owners
        for command in self._build():
            self.add_command(command)

    async def digest(self) -> str:
        """Return a digest of this application's commands; any change of them changes it."""
        words = CatalogueTranslator(self._studio)
        payload = [await c.get_translated_payload(self, words) for c in self.get_commands()]
        text = json.dumps([self.client.application_id, payload], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    async def on_error(
        self, interaction: discord.Interaction[discord.Client], error: app_commands.AppCommandError, /
    ) -> None:
        """Answer an interaction that no command handled: an outdated command, or an internal error."""
        if interaction.type is discord.InteractionType.autocomplete:
            return
        stale = isinstance(error, app_commands.CommandNotFound | app_commands.CommandSignatureMismatch)
        if not stale:
            await self._replies.apologise(interaction, error)
            return
        locale = locale_of(interaction.locale)
        card = self._replies.failed(error, locale, "discord.command.old")

        async def work() -> InteractionAnswer:
            return InteractionAnswer(card)

        await self._replies.respond(interaction, ref_of(interaction, private=True), locale, work(), private=True)

    def _about(self, key: str) -> locale_str:
        """Return the English text with the key of its translations."""
        return locale_str(self._studio.text(key, "en"), key=key)

    def _build(self) -> list[app_commands.Command[app_commands.Group, ..., None] | app_commands.Group]:
        names = {o: locale_str(o, key=f"discord.option.{o}") for o in OPTIONS}

        @app_commands.rename(**names)
        @app_commands.describe(
            prompt=self._about("discord.option.prompt.about"),
            size=self._about("discord.option.size.about"),
            count=self._about("discord.option.count.about"),
            seed=self._about("discord.option.seed.about"),
            negative=self._about("discord.option.negative.about"),
            private=self._about("discord.option.private.about"),
        )
        @app_commands.autocomplete(size=self._sizes)
        async def draw(  # noqa: PLR0917 - discord.py passes them by name
            interaction: discord.Interaction,
            prompt: str,
            size: str | None = None,
            count: app_commands.Range[int, 1, LIMITS.max_count] | None = None,
            seed: str | None = None,
            negative: str | None = None,
            private: bool | None = None,
        ) -> None:
            form = DrawForm(
                prompt=prompt,
                size=size,
                count=None if count is None else str(count),
                seed=seed,
                negative=negative,
                private=private,
            )
            await self._draw(interaction, form)

        async def history(interaction: discord.Interaction) -> None:
            await self._history(interaction)

        async def help_(interaction: discord.Interaction) -> None:
            await self._help(interaction)

        plain = (("draw", draw), ("history", history), ("help", help_))
        return [
            *(
                app_commands.Command(name=name, description=self._about(f"discord.command.{name}"), callback=callback)
                for name, callback in plain
            ),
            *registry_commands.build(self._about, self._registry_command),
        ]

    async def _sizes(self, interaction: discord.Interaction, typed: str) -> list[app_commands.Choice[str]]:
        """Suggest the model's sizes; other values may be typed as well."""
        presets = self._studio.profiles()[0].presets
        locale = locale_of(interaction.locale)
        named = {n: f"{self._studio.text(f'discord.size.{n}', locale)} · {w}×{h}" for n, (w, h) in presets.items()}
        wanted = typed.strip().casefold()
        return [
            app_commands.Choice(name=label[:CHOICE_CHARS], value=name)
            for name, label in named.items()
            if wanted in f"{name} {label}".casefold()
        ][:CHOICES]

    async def _draw(self, interaction: discord.Interaction, form: DrawForm) -> None:
        private = bool(form.private)
        actor, place, ref = (
            actor_of(interaction, self._owners),
            place_of(interaction),
            ref_of(interaction, private=private),
        )

        async def work() -> InteractionAnswer:
            shown = await self._studio.draw(actor, place, form, ref)
            return InteractionAnswer(shown.card, shown.job_id)

        await self._replies.respond(interaction, ref, actor.locale, work(), private=private)

    async def _history(self, interaction: discord.Interaction) -> None:
        actor, place = actor_of(interaction, self._owners), place_of(interaction)

        async def work() -> InteractionAnswer:
            return InteractionAnswer(await self._studio.history(actor, place))

        await self._notice(interaction, work())

    async def _help(self, interaction: discord.Interaction) -> None:
        locale = locale_of(interaction.locale)

        async def work() -> InteractionAnswer:
            card = self._studio.help(locale)
            return InteractionAnswer(replace(card, notes=(*card.notes, self._studio.text("discord.help", locale))))

        await self._notice(interaction, work())

    async def _registry_command(
        self, interaction: discord.Interaction, command: Command, values: Mapping[str, object]
    ) -> None:
        actor, place = actor_of(interaction, self._owners), place_of(interaction)
        given, ref = registry_commands.picked(values), ref_of(interaction, private=command.private)
        invocation = Invocation(actor, place, command, ref, given.args, given.names, given.roles)

        async def work() -> InteractionAnswer:
            card = await self._studio.command(invocation)
            if card.job_id is not None:
                return InteractionAnswer(card, card.job_id)
            # Everybody may see a new setting; a refusal is private.
            return InteractionAnswer(replace(card, private=command.private))

        await self._replies.respond(interaction, ref, actor.locale, work(), private=command.private)

    async def _notice(self, interaction: discord.Interaction, work: Awaitable[InteractionAnswer]) -> None:
        ref = ref_of(interaction, private=True)
        await self._replies.respond(interaction, ref, locale_of(interaction.locale), work, private=True)
