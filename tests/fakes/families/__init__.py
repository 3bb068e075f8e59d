"""Model families that Easel does not have: each folder is what a folder of ``engine/families`` is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine import families
from engine.families import registry

_FOLDER = str(Path(__file__).parent)


@contextmanager
def added() -> Iterator[None]:
    """Let the registry find the families of this folder too, as if they lay in ``engine/families``."""
    with _found_in([*families.__path__, _FOLDER]):
        yield


@contextmanager
def removed() -> Iterator[None]:
    """Inside ``added``: let the registry find Easel's own families alone."""
    with _found_in([folder for folder in families.__path__ if folder != _FOLDER]):
        yield


@contextmanager
def _found_in(folders: list[str]) -> Iterator[None]:
    before = families.__path__
    families.__path__ = folders
    registry.specs.cache_clear()
    try:
        yield
    finally:
        families.__path__ = before
        registry.specs.cache_clear()
