"""Everything that admins can change, by the name under which it stands in the log: what can be undone."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bot.access.newcomers import ACCESS
from bot.access.owner_changes import OWNER
from bot.audit.changes import Undoable
from bot.moderation.bans import BAN
from bot.places.option_changes import OPTION
from bot.quotas.credits import CREDIT
from bot.quotas.rule_changes import POLICY

KINDS: Mapping[str, Undoable] = MappingProxyType(
    {kind.name: kind for kind in (ACCESS, BAN, CREDIT, OPTION, OWNER, POLICY)}
)
"""By their names."""
