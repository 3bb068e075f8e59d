"""Everything that admins can change, by the name under which it stands in the log: what can be undone."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bot.usecases.bans import BAN
from bot.usecases.changes import Kind
from bot.usecases.credits import CREDIT
from bot.usecases.newcomers import ACCESS
from bot.usecases.options import OPTION
from bot.usecases.owners import OWNER
from bot.usecases.policies import POLICY

KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in (ACCESS, BAN, CREDIT, OPTION, OWNER, POLICY)})
"""By their names."""
