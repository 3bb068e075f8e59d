"""Bans, the strictness of the word list, and where reports go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from bot.model.cards import Card
from bot.model.verbs import Call
from bot.usecases.house import House

HANDLERS: Mapping[str, Callable[[House, Call], Awaitable[Card]]] = MappingProxyType({})
