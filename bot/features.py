"""The registry of all commands: one line for each feature."""

from __future__ import annotations

from bot.access import commands as access
from bot.accounts import commands as accounts
from bot.admin import commands as admin
from bot.admin import panel
from bot.commands.registry import Registry
from bot.drawing import commands as drawing
from bot.history import commands as history
from bot.moderation import commands as moderation
from bot.preferences import commands as preferences
from bot.privacy import commands as privacy
from bot.quotas import commands as quotas

COMMANDS = Registry(
    (
        *quotas.COMMANDS,
        *panel.COMMANDS,
        *admin.COMMANDS,
        *access.COMMANDS,
        *drawing.COMMANDS,
        *history.COMMANDS,
        *moderation.COMMANDS,
        *privacy.COMMANDS,
        *preferences.COMMANDS,
        *accounts.COMMANDS,
    )
)
"""Every command but ``history``, ``cancel`` and ``help``, which every surface has in its own form."""
