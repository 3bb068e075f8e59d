"""Slash commands built from the table of commands; each argument becomes an option with Discord's picker."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, Union

import discord
from discord import app_commands
from discord.app_commands import AppCommandChannel, AppCommandThread, Choice, locale_str

from bot.commands.model import Arg, ArgType, Command
from bot.features import COMMANDS

Answering: TypeAlias = Callable[[discord.Interaction, Command, Mapping[str, object]], Awaitable[None]]
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
_TYPES: Mapping[ArgType, Any] = {
    ArgType.TEXT: app_commands.Range[str, 1, 500],
    ArgType.WORD: app_commands.Range[str, 1, 100],
    ArgType.SPAN: app_commands.Range[str, 1, 40],
    ArgType.CHOICE: str,
    ArgType.WHOLE: app_commands.Range[int, 1, MOST],
    ArgType.PERSON: discord.User,
    ArgType.ROLE: discord.Role,
    ArgType.CHANNEL: ChannelTransformer,
}


def build(about: About, answering: Answering) -> list[AppCommand | app_commands.Group]:
    """Return a command for each name of one word, and a group for each first word of the others.

    Args:
        about: Returns the English text of a key with the key of its translations.
        answering: Runs a command with the values that discord.py passes.
    """
    built: dict[str, AppCommand | app_commands.Group] = {}
    for command in COMMANDS.typed:
        name, _, sub = command.name.partition(" ")
        app_command = _command(command, sub or name, about, answering)
        if not sub:
            built[name] = app_command
            continue
        if name not in built:
            built[name] = app_commands.Group(name=name, description=about(f"discord.command.{name}"))
        group = built[name]
        assert isinstance(group, app_commands.Group), f"/{name} is a command by itself"
        group.add_command(app_command)
    return list(built.values())


@dataclass(frozen=True, slots=True)
class PickedOptions:
    """The options of an interaction by argument: value as text, Discord's display name, and a person's roles."""

    args: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict)


def picked(values: Mapping[str, object]) -> PickedOptions:
    """Convert the values that discord.py passes."""
    found = PickedOptions()
    for name, value in values.items():
        if value is None:
            continue
        found.args[name] = str(value.id) if isinstance(value, discord.abc.Snowflake) else str(value)
        if isinstance(value, discord.User | discord.Member):
            found.names[name] = value.display_name
        elif isinstance(value, discord.Role | AppCommandChannel | AppCommandThread):
            found.names[name] = value.name
        if isinstance(value, discord.Member):
            found.roles[name] = tuple(str(role.id) for role in value.roles if not role.is_default())
    return found


def _command(command: Command, name: str, about: About, answering: Answering) -> AppCommand:
    callback = _callback(command, answering)
    if command.args:
        names = {arg.name: locale_str(arg.name, key=f"discord.option.{arg.name}") for arg in command.args}
        callback = app_commands.rename(**names)(callback)
        callback = app_commands.describe(**{a.name: about(f"discord.option.{a.name}.about") for a in command.args})(
            callback
        )
    if chosen := {arg.name: _choices(arg, about) for arg in command.args if arg.type is ArgType.CHOICE}:
        callback = app_commands.choices(**chosen)(callback)
    key = f"discord.command.{command.name.replace(' ', '.')}"
    return app_commands.Command(name=name, description=about(key), callback=callback)


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
        of_type = _TYPES[arg.type]
        if arg.required:
            yield inspect.Parameter(arg.name, kind, annotation=of_type)
        else:
            yield inspect.Parameter(arg.name, kind, annotation=Union[of_type, None], default=None)  # noqa: UP007 - discord.py reads no newer form
