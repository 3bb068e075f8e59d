"""What came of a decision, for properties that hold whether or not it was refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from bot.core.errors import Refusal

T = TypeVar("T")


def outcome(decision: Callable[[], T]) -> T | Refusal:
    try:
        return decision()
    except Refusal as refusal:
        return refusal
