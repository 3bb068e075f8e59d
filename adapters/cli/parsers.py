"""The parsers of the table's commands: their words and arguments on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from adapters.cli import platforms
from bot.commands.model import Arg, ArgType, Command, Permission
from bot.core.errors import BadInput
from bot.core.texts import bounded, shown
from bot.features import COMMANDS

OWN_FORMS = frozenset({"quota show", "quota set", "quota reset"})
"""Commands with parsers of their own: `easel quota set | show | reset` concern the owner's rules."""

PLACED = frozenset(f"easel {word}" for word in ("limits", "preset", "pause", "resume", "log", "admins", "timezone"))
"""Commands for one place; the others act on the whole service if no place is named."""

Actions: TypeAlias = "argparse._SubParsersAction[Any]"  # noqa: SLF001 - argparse has no other name for it

_ABOUT: Mapping[str, str] = MappingProxyType(
    {
        "quota why": "Say which rules hold for somebody, and why.",
        "quota grant": "Give somebody pictures on top of the rules.",
        "quota lend": "Lend somebody pictures, which count later.",
        "easel limits": "Say what holds in a place.",
        "easel preset": "Set all rules of a place at once.",
        "easel pause": "Take on nothing new in a place.",
        "easel resume": "Draw in a place again.",
        "easel log": "Name the channel where a place's reports and refusals go.",
        "easel admins": "List the roles whose members are admins too, name one, or take it off the list.",
        "easel timezone": "Name the time zone in which a place's days begin.",
        "easel words": "Say what happens to words for adults.",
        "easel keep": "Say how long pictures are kept.",
        "easel ban": "Shut somebody out.",
        "easel unban": "Let somebody in again.",
        "easel bans": "List who is shut out.",
        "easel changes": "List who changed what.",
        "easel undo": "Take a change back.",
        "easel waiting": "List who waits to be let in.",
        "easel allow": "Let somebody in.",
        "easel refuse": "Keep somebody out.",
    }
)


def words_of(command: Command) -> tuple[str, ...] | None:
    """Return a command's words here; None if it has no parser, or one of its own."""
    if command.name in OWN_FORMS or command.personal:
        return None
    first, _, sub = command.name.partition(" ")
    if command.name == "easel service":
        return ("service",)
    if first == "quota":
        return (first, sub)
    return ("access" if command.permission is Permission.OWNER else "place", sub)


def add(word: str, parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command that a word stands for, or an action for each command of the group."""
    command = next((command for command in COMMANDS.typed if words_of(command) == (word,)), None)
    if command is None:
        add_actions(word, parser.add_subparsers(required=True, metavar="ACTION"))
    else:
        _fill(parser, command)


def add_actions(word: str, actions: Actions) -> None:
    """Add an action for each command of a group, such as ``quota``."""
    for command in COMMANDS.typed:
        words = words_of(command)
        if words is not None and words[0] == word:
            text = _ABOUT[command.name]
            _fill(actions.add_parser(words[1], help=text, description=text, allow_abbrev=False), command)


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
        text = _help(arg)
        if arg.required:
            form.add_argument(
                arg.name, metavar=None if choices else arg.name.upper(), nargs=several, choices=choices, help=text
            )
        else:
            form.add_argument(
                f"--{arg.name}",
                metavar=None if choices else arg.name.upper(),
                nargs=several,
                choices=choices,
                help=text,
            )
    if command.permission is Permission.OWNER:
        form.set_defaults(platform=None, place=None)
        return
    needed = command.name in PLACED
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
