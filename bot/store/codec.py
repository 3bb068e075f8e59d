"""How addresses and cards are written into a column: JSON by pydantic, read back as the same frozen dataclasses."""

from __future__ import annotations

from functools import cache

from pydantic import TypeAdapter

from bot.model.cards import Card
from bot.model.messages import Address


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
    """Read a stored card. Raises pydantic's ValidationError for text that ``dump_card`` did not write."""
    return _cards().validate_json(text)


def dump_address(address: Address) -> str:
    """Return the address as JSON. It holds the short-lived token: for its column alone, never for a log."""
    return _addresses().dump_json(address, exclude_defaults=True).decode()


def load_address(text: str) -> Address:
    """Read a stored address. Raises pydantic's ValidationError for text that ``dump_address`` did not write."""
    return _addresses().validate_json(text)
