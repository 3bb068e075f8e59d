"""Returns a decision's refusal as a value, for properties that hold in both cases."""

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
