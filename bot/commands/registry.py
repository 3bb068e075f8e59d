"""The registry of commands: typed ones by name, buttons by action."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from bot.cards.job_buttons import JobButton
from bot.commands.model import Command


class Registry:
    """All commands. Their order is that of menus, and of the buttons on a card.

    Attributes:
        typed: The commands that have a name.
        by_name: These, by their names.
        defaults: The command that a first word means where no subcommand follows, by the word.
        by_action: The commands that a button invokes, by its action.
        job_buttons: The buttons on cards of jobs, by their actions.
        picked: The commands that menus of messages and people offer.
    """

    def __init__(self, commands: Iterable[Command]) -> None:
        """Raises ValueError where two commands have the same name or action, or subcommands have not one default."""
        found = tuple(commands)
        self.typed = tuple(command for command in found if command.name)
        self.by_name = MappingProxyType({command.name: command for command in self.typed})
        defaults = [command for command in self.typed if command.default]
        self.defaults = MappingProxyType({command.name.partition(" ")[0]: command for command in defaults})
        groups = {name.partition(" ")[0] for name in self.by_name if " " in name}
        if self.defaults.keys() != groups or len(self.defaults) < len(defaults):
            raise ValueError("subcommands need one default for each first word")
        self.picked = tuple(command for command in found if command.picked_on is not None)
        pressed = tuple(command for command in found if command.action)
        self.by_action = MappingProxyType({command.action: command for command in pressed})
        if len(self.by_name) < len(self.typed) or len(self.by_action) < len(pressed):
            raise ValueError("two commands have the same name or action")
        self.job_buttons: MappingProxyType[str, JobButton] = MappingProxyType(
            {command.action: command.button for command in pressed if command.button is not None}
        )
