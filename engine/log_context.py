"""The recipes that the log lines of the device's process are about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_RECIPES: ContextVar[tuple[str, ...]] = ContextVar("recipes", default=())


@contextmanager
def about(recipe_ids: Iterable[str]) -> Iterator[None]:
    """Name these recipes in every log line of the block."""
    token = _RECIPES.set(tuple(recipe_ids))
    try:
        yield
    finally:
        _RECIPES.reset(token)


def recipes() -> tuple[str, ...]:
    """Return the ids of the recipes that are being worked on."""
    return _RECIPES.get()
