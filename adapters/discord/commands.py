"""Slash commands, Easel's own and those of the registry: options, names in each language, and calls of Studio."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Awaitable, Callable, Container, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, Union

import discord
from discord import app_commands
from discord.app_commands import AppCommandChannel, AppCommandThread, Choice, locale_str

from adapters.discord.identity import LOCALES, actor_of, language_of, place_of, ref_of, roles_of
from adapters.discord.menus import ContextMenus
from adapters.discord.replies import InteractionAnswer, InteractionReplies
from adapters.discord.settings import LIMITS
from adapters.discord.sources import source_of
from bot.commands.model import NO, SUGGESTED, YES, Arg, ArgType, Command, Invocation, Permission
from bot.core.requests import PictureSource
from bot.features import COMMANDS
from bot.studio import Studio


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
        for command in (*self._build(), *ContextMenus(studio, replies, owners).build()):
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
        locale = language_of(interaction, self._studio)
        card = self._replies.failed(error, locale, "discord.command.old")

        async def work() -> InteractionAnswer:
            return InteractionAnswer(card)

        await self._replies.respond(interaction, ref_of(interaction, private=True), locale, work(), private=True)

    def _about(self, key: str) -> locale_str:
        """Return the English text with the key of its translations."""
        return locale_str(self._studio.text(key, "en"), key=key)

    def _build(self) -> list[app_commands.Command[app_commands.Group, ..., None] | app_commands.Group]:
        async def history(interaction: discord.Interaction) -> None:
            await self._history(interaction)

        async def help_(interaction: discord.Interaction) -> None:
            await self._help(interaction)

        plain = (("history", history), ("help", help_))
        return [
            *(
                app_commands.Command(
                    name=_named(name), description=self._about(f"discord.command.{name}"), callback=callback
                )
                for name, callback in plain
            ),
            *build_commands(self._about, self._registry_command, self._suggest, self._studio.offers),
        ]

    async def _suggest(self, interaction: discord.Interaction, arg: Arg, typed: str) -> list[app_commands.Choice[Any]]:
        actor, place = actor_of(interaction, self._owners, self._studio), place_of(interaction)
        given = picked(vars(interaction.namespace)).args
        whole = arg.type is ArgType.JOB  # the one option of numbers that is suggested
        return [
            app_commands.Choice(name=one.label, value=int(one.value) if whole else one.value)
            for one in await self._studio.suggest(actor, place, arg, typed, given=given)
        ]

    async def _history(self, interaction: discord.Interaction) -> None:
        actor, place = actor_of(interaction, self._owners, self._studio), place_of(interaction)

        async def work() -> InteractionAnswer:
            return InteractionAnswer(await self._studio.history(actor, place))

        await self._notice(interaction, work())

    async def _help(self, interaction: discord.Interaction) -> None:
        locale = language_of(interaction, self._studio)

        async def work() -> InteractionAnswer:
            card = self._studio.help(locale)
            return InteractionAnswer(replace(card, notes=(self._studio.text("discord.help", locale), *card.notes)))

        await self._notice(interaction, work())

    async def _registry_command(
        self, interaction: discord.Interaction, command: Command, values: Mapping[str, object]
    ) -> None:
        actor, place = actor_of(interaction, self._owners, self._studio), place_of(interaction)
        given = picked(values)
        private = command.private or given.args.get("private") == YES
        ref = ref_of(interaction, private=private)
        invocation = Invocation(
            actor, place, command, ref, given.args, given.names, given.roles, pictures=given.pictures
        )

        async def work() -> InteractionAnswer:
            card = await self._studio.command(invocation)
            if card.job_id is not None or card.provisional:
                return InteractionAnswer(card, card.job_id)
            # Everybody may see a new setting; a refusal is private.
            return InteractionAnswer(replace(card, private=command.private))

        await self._replies.respond(interaction, ref, actor.locale, work(), private=private)

    async def _notice(self, interaction: discord.Interaction, work: Awaitable[InteractionAnswer]) -> None:
        ref = ref_of(interaction, private=True)
        await self._replies.respond(interaction, ref, language_of(interaction, self._studio), work, private=True)


Answering: TypeAlias = Callable[[discord.Interaction, Command, Mapping[str, object]], Awaitable[None]]
Suggesting: TypeAlias = Callable[[discord.Interaction, Arg, str], Awaitable[list[Choice[Any]]]]
About: TypeAlias = Callable[[str], locale_str]
AppCommand: TypeAlias = app_commands.Command[Any, ..., None]

MOST = 10**12
"""Largest whole number that an option takes; Discord's own limit is 2^53."""


class ChannelTransformer(app_commands.Transformer):
    """A channel or thread for messages, as Discord describes it; the bot need not have access to it."""

    @property
    def type(self) -> discord.AppCommandOptionType:
        """Discord's picker of channels."""
        return discord.AppCommandOptionType.channel

    @property
    def channel_types(self) -> list[discord.ChannelType]:
        """All types with messages; not categories and forums, which hold channels and threads."""
        kinds = discord.ChannelType
        threads = [kinds.news_thread, kinds.public_thread, kinds.private_thread]
        return [kinds.text, kinds.voice, kinds.news, kinds.stage_voice, *threads]

    async def transform(self, interaction: discord.Interaction, value: object, /) -> object:  # noqa: ARG002 - discord.py passes it
        """Return the value unchanged."""
        return value


# Discord's client validates these before it sends an interaction.
_NAME = app_commands.Range[str, 1, 200]
_TYPES: Mapping[ArgType, Any] = {
    ArgType.TEXT: app_commands.Range[str, 1, 500],
    ArgType.WORD: app_commands.Range[str, 1, 100],
    ArgType.SPAN: app_commands.Range[str, 1, 40],
    ArgType.CHOICE: str,
    ArgType.PROMPT: app_commands.Range[str, 1, 6000],
    ArgType.WHOLE: app_commands.Range[int, 1, MOST],
    ArgType.DECIMAL: app_commands.Range[float, -MOST, MOST],
    ArgType.SWITCH: bool,
    ArgType.COUNT: app_commands.Range[int, 1, LIMITS.max_count],
    ArgType.JOB: app_commands.Range[int, 1, MOST],
    ArgType.MODEL: _NAME,
    ArgType.STYLE: _NAME,
    ArgType.LORA: _NAME,
    ArgType.SIZE: _NAME,
    ArgType.PERSON: discord.User,
    ArgType.PICTURE: discord.Attachment,
    ArgType.ROLE: discord.Role,
    ArgType.CHANNEL: ChannelTransformer,
}


_IN_SERVERS = app_commands.AppCommandContext(guild=True, dm_channel=False, private_channel=False)


def build_commands(
    about: About, answering: Answering, suggesting: Suggesting, offered: Callable[[Command], bool]
) -> list[AppCommand | app_commands.Group]:
    """Return a command for each name of one word, and a group for each first word of the others.

    Args:
        about: Returns the English text of a key with the key of its translations.
        answering: Runs a command with the values that discord.py passes.
        suggesting: Returns what fits the value that is being typed.
        offered: Whether a command can do anything here.
    """
    built: dict[str, AppCommand | app_commands.Group] = {}
    for command in filter(offered, COMMANDS.typed):
        name, _, sub = command.name.partition(" ")
        app_command = _command(command, sub or name, about, answering, suggesting)
        if not sub:
            built[name] = app_command
            continue
        if name not in built:
            built[name] = _group(name, about)
        group = built[name]
        assert isinstance(group, app_commands.Group), f"/{name} is a command by itself"
        group.add_command(app_command)
    return list(built.values())


@dataclass(frozen=True, slots=True)
class PickedOptions:
    """The options of an interaction by argument: value as text, Discord's display name, and a person's roles; its pictures."""

    pictures: list[PictureSource] = field(default_factory=list)
    args: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict)


def picked(values: Mapping[str, object]) -> PickedOptions:
    """Convert the values that discord.py passes."""
    found = PickedOptions()
    for name, value in values.items():
        if value is None:
            continue
        found.args[name] = _text(value)
        if isinstance(value, discord.Attachment):
            found.pictures.append(source_of(value))
        if isinstance(value, discord.User | discord.Member):
            found.names[name] = value.display_name
        elif isinstance(value, discord.Role | AppCommandChannel | AppCommandThread):
            found.names[name] = value.name
        if isinstance(value, discord.Member):
            found.roles[name] = roles_of(value)
    return found


def _text(value: object) -> str:
    match value:
        case str():  # first: the check for an id is slow
            return value
        case bool():
            return YES if value else NO
        case float():
            return f"{value:g}"
        case discord.abc.Snowflake() | discord.Attachment():
            return str(value.id)
        case _:
            return str(value)


def _named(word: str) -> locale_str:
    """Return a word of a command's name with the key of its translations."""
    return locale_str(word, key=f"discord.name.{word}")


def _group(name: str, about: About) -> app_commands.Group:
    """Return the group of a first word. One of admins is hidden from others and in direct messages, until a server
    decides otherwise; the core checks every use anyway.
    """
    theirs = [c.permission for c in COMMANDS.typed if c.name.startswith(f"{name} ") and not c.default]
    for_admins = all(permission is not Permission.ANYBODY for permission in theirs)
    return app_commands.Group(
        name=_named(name),
        description=about(f"discord.command.{name}"),
        default_permissions=discord.Permissions(manage_guild=True) if for_admins else None,
        allowed_contexts=_IN_SERVERS if for_admins and Permission.ADMIN in theirs else None,
    )


def _command(command: Command, name: str, about: About, answering: Answering, suggesting: Suggesting) -> AppCommand:
    callback = _callback(command, answering)
    if command.args:
        names = {arg.name: locale_str(arg.name, key=f"discord.option.{arg.name}") for arg in command.args}
        callback = app_commands.rename(**names)(callback)
        callback = app_commands.describe(**{a.name: about(f"discord.option.{a.name}.about") for a in command.args})(
            callback
        )
    if chosen := {arg.name: _choices(arg, about) for arg in command.args if arg.type is ArgType.CHOICE}:
        callback = app_commands.choices(**chosen)(callback)
    suggested = {arg.name: _suggestions(arg, suggesting) for arg in command.args if arg.type in SUGGESTED}
    if suggested:
        callback = app_commands.autocomplete(**suggested)(callback)
    key = f"discord.command.{command.name.replace(' ', '.')}"
    return app_commands.Command(name=_named(name), description=about(key), callback=callback)


def _suggestions(arg: Arg, suggesting: Suggesting) -> Callable[..., Coroutine[Any, Any, list[Choice[Any]]]]:
    async def suggestions(interaction: discord.Interaction, typed: str | int) -> list[Choice[Any]]:
        return await suggesting(interaction, arg, str(typed))

    return suggestions


def _choices(arg: Arg, about: About) -> list[Choice[str | int | float]]:
    return [Choice(name=about(f"choice.{value}"), value=value) for value in arg.choices]


def _callback(command: Command, answering: Answering) -> Callable[..., Coroutine[Any, Any, None]]:
    async def callback(interaction: discord.Interaction, **values: object) -> None:
        await answering(interaction, command, values)

    # discord.py builds the options from the signature, which only the table knows.
    setattr(callback, "__signature__", inspect.Signature(list(_parameters(command))))  # noqa: B010 - mypy knows no such attribute
    return callback


def _parameters(command: Command) -> Iterable[inspect.Parameter]:
    kind = inspect.Parameter.KEYWORD_ONLY
    yield inspect.Parameter("interaction", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=discord.Interaction)
    for arg in sorted(command.args, key=lambda arg: not arg.required):
        of_type = _TYPES[arg.type] if arg.limits is None else _limited(arg)
        if arg.required:
            yield inspect.Parameter(arg.name, kind, annotation=of_type)
        else:
            yield inspect.Parameter(arg.name, kind, annotation=Union[of_type, None], default=None)  # noqa: UP007 - discord.py reads no newer form


def _limited(arg: Arg) -> Any:
    assert arg.limits is not None
    low, high = arg.limits
    if arg.type is ArgType.DECIMAL:
        return app_commands.Range[float, float(low), float(high)]
    return app_commands.Range[int, int(low), int(high)]
