"""How addresses and cards are written into a column: JSON by pydantic, read back as the same frozen dataclasses."""

from __future__ import annotations

from functools import cache
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from bot.core.cards import Card
from bot.core.messages import Address
from bot.storage.sql import Converter

T = TypeVar("T")


@cache
def _cards() -> TypeAdapter[Card]:
    return TypeAdapter(Card)


@cache
def _addresses() -> TypeAdapter[Address]:
    return TypeAdapter(Address)


def dump_card(card: Card) -> str:
    """Return the card as JSON."""
    return _cards().dump_json(card, exclude_defaults=True).decode()


def load_card(text: str) -> Card:
    """Read a stored card. Raises ValueError for text that ``dump_card`` did not write."""
    return _read(_cards(), text)


def dump_address(address: Address) -> str:
    """Return the address as JSON. It holds the short-lived token: for its column alone, never for a log."""
    return _addresses().dump_json(address, exclude_defaults=True).decode()


def load_address(text: str) -> Address:
    """Read a stored address. Raises ValueError for text that ``dump_address`` did not write."""
    return _read(_addresses(), text)


ADDRESS = Converter(load_address, dump_address)


def _read(adapter: TypeAdapter[T], text: str) -> T:
    try:
        return adapter.validate_json(text)
    except ValidationError as e:
        # pydantic's own error repeats what it has read: tokens and prompts, which belong into no log.
        problem = f"{e.title}: {e.error_count()} of its fields can't be read"
    raise ValueError(problem)
