"""The recipes that the log lines of the device's process are about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_RECIPES: ContextVar[tuple[str, ...]] = ContextVar("recipes", default=())


@contextmanager
def about(recipes: Iterable[str]) -> Iterator[None]:
    """Name these recipes, by ``Recipe.log_name``, in every log line of the block."""
    token = _RECIPES.set(tuple(recipes))
    try:
        yield
    finally:
        _RECIPES.reset(token)


def current_recipes() -> tuple[str, ...]:
    """Return the names of the recipes that are being worked on."""
    return _RECIPES.get()
