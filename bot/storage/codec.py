"""JSON of addresses and cards in columns: written and validated by pydantic."""

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
    """Return the card of its JSON. Raises ValueError if ``dump_card`` did not write it."""
    return _read(_cards(), text)


def dump_address(address: Address) -> str:
    """Return the address as JSON. It contains the interaction token: never log it."""
    return _addresses().dump_json(address, exclude_defaults=True).decode()


def load_address(text: str) -> Address:
    """Return the address of its JSON. Raises ValueError if ``dump_address`` did not write it."""
    return _read(_addresses(), text)


ADDRESS = Converter(load_address, dump_address)


def _read(adapter: TypeAdapter[T], text: str) -> T:
    try:
        return adapter.validate_json(text)
    except ValidationError as e:
        # pydantic's own error quotes the input: tokens and prompts, which must not be logged.
        problem = f"{e.title}: {e.error_count()} invalid fields"
    raise ValueError(problem)
