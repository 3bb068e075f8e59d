"""The parsers of the table's commands: their words and arguments on the command line."""

from __future__ import annotations

import argparse
from typing import Any, TypeAlias

from adapters.cli import platforms
from adapters.cli.output import text
from bot.commands.model import Arg, ArgType, Command, Permission
from bot.core.errors import BadInput
from bot.core.texts import bounded, shown
from bot.features import COMMANDS

Actions: TypeAlias = "argparse._SubParsersAction[Any]"  # noqa: SLF001 - argparse has no other name for it


def words_of(command: Command) -> tuple[str, ...] | None:
    """Return a command's words here; None if the terminal does not offer it."""
    if command.personal or any(arg.type is ArgType.PICTURE for arg in command.args):
        return None
    first, _, sub = command.name.partition(" ")
    if command.name == "owner service":
        return ("service",)
    if first == "quota":
        return (first, sub)
    return ("access" if command.permission is Permission.OWNER else "place", sub or first)


def add(word: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command that a word stands for, or an action for each command of the group."""
    command = next((command for command in COMMANDS.typed if words_of(command) == (word,)), None)
    if command is None:
        add_actions(word, parser.add_subparsers(required=True, metavar="ACTION"))
    else:
        _fill(parser, command)


def add_actions(word: str, actions: Actions) -> None:
    """Add an action for each command of a group, such as ``quota``. Those that are there already keep their parsers."""
    for command in COMMANDS.typed:
        words = words_of(command)
        if words is not None and words[0] == word and words[1] not in actions.choices:
            about = text(f"cli.command.{command.name.replace(' ', '.')}")
            _fill(actions.add_parser(words[1], help=about, description=about, allow_abbrev=False), command)


def args_of(command: Command, found: argparse.Namespace) -> dict[str, str]:
    """Return a command's arguments as typed."""
    values = {arg.name: getattr(found, arg.name) for arg in command.args}
    return {n: " ".join(v) if isinstance(v, list) else str(v) for n, v in values.items() if v is not None}


def check_ids(platform: str | None, *ids: str | None) -> None:
    """Refuse values that are no ids on platforms with numeric ids: a rule for ``@ada`` would match nobody.

    Args:
        platform: The platform of the ids; nothing is checked if it is None.
        ids: Ids of people, places, channels and roles, or None. A person's id may name its own platform.

    Raises:
        BadInput: An id is not a whole number.
    """
    numeric = {one.name for one in platforms.all_platforms() if one.numeric_ids}
    for value in ids:
        if value is None:
            continue
        named, colon, own = value.partition(":")
        on, number = (named, own) if colon else (platform, value)
        if on in numeric and bounded(number) is None:
            raise BadInput("cli.id", value=shown(value))


def _fill(form: argparse.ArgumentParser, command: Command) -> None:
    form.set_defaults(module="registry_commands", command=command.name)
    for arg in command.args:
        several = "+" if arg.type in {ArgType.TEXT, ArgType.SPAN} else None
        choices = arg.choices or None
        about = _help(arg)
        if arg.required:
            form.add_argument(
                arg.name, metavar=None if choices else arg.name.upper(), nargs=several, choices=choices, help=about
            )
        else:
            form.add_argument(
                f"--{arg.name}",
                metavar=None if choices else arg.name.upper(),
                nargs=several,
                choices=choices,
                help=about,
            )
    if command.permission is Permission.OWNER:
        form.set_defaults(platform=None, place=None)
        return
    needed = command.place_only
    form.add_argument(
        "--platform", choices=platforms.names(), required=needed, help="the platform of the place, or of ids"
    )
    form.add_argument("--place", metavar="ID", required=needed, help="the server's or group's id")


def _help(arg: Arg) -> str:
    match arg.type:
        case ArgType.PERSON:
            return "a user id; with its platform before it (telegram:123) where none is named"
        case ArgType.SPAN:
            return "such as 3 days, 12h or 2 weeks"
        case ArgType.ROLE | ArgType.CHANNEL:
            return "its id"
        case _:
            return ""
