"""The registry of all commands: one line for each feature."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bot.access import commands as access
from bot.accounts import commands as accounts
from bot.admin import commands as admin
from bot.admin import panel
from bot.commands.model import Command, Permission
from bot.commands.registry import Registry
from bot.drawing import commands as drawing
from bot.history import commands as history
from bot.inspection import commands as inspection
from bot.moderation import commands as moderation
from bot.preferences import commands as preferences
from bot.privacy import commands as privacy
from bot.quotas import commands as quotas

_OWNERS = ("changes", "undo", "words", "keep", "ban", "unban", "bans")
"""What owners do for the whole service in a direct message, with the commands of a place's admins."""

_ADMINS = (*admin.COMMANDS, *moderation.COMMANDS, *privacy.COMMANDS)


def _for_owners() -> Iterator[Command]:
    """Yield the owners' own forms of admins' commands: platforms may hide ``easel`` in direct messages."""
    for command in _ADMINS:
        first, _, sub = command.name.partition(" ")
        if first == "easel" and sub in _OWNERS:
            yield replace(
                command,
                name=f"owner {sub}",
                permission=Permission.OWNER,
                listed=False,
                personal=True,
                action="",
                picked_on=None,
            )


COMMANDS = Registry(
    (
        *quotas.COMMANDS,
        *panel.COMMANDS,
        *admin.COMMANDS,
        *access.COMMANDS,
        *drawing.COMMANDS,
        *history.COMMANDS,
        *inspection.COMMANDS,
        *moderation.COMMANDS,
        *privacy.COMMANDS,
        *preferences.COMMANDS,
        *accounts.COMMANDS,
        *_for_owners(),
    )
)
"""Every command but ``history``, ``cancel`` and ``help``, which every surface has in its own form."""
