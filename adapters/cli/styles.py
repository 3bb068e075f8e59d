"""The operator's styles: ``styles.toml`` and A1111's ``styles.csv`` in the data folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from bot.cards import i18n
from bot.core.errors import BadInput
from bot.drawing.styles import (
    CSV_FILE,
    TOML_FILE,
    ProblemHandler,
    Style,
    StyleLibrary,
    merge_styles,
    read_csv,
    read_toml,
)
from engine.regular_files import read_text

_READERS: Mapping[str, Callable[[str, ProblemHandler], dict[str, Style]]] = MappingProxyType(
    {TOML_FILE: read_toml, CSV_FILE: read_csv}
)

log = logging.getLogger(__name__)


def load(data_dir: Path) -> StyleLibrary:
    """Read both files; invalid entries are left out. Blocking."""
    files: dict[str, dict[str, Style]] = {}
    problems: list[BadInput] = []
    for name, reader in _READERS.items():
        try:
            files[name] = reader(read_text(data_dir / name), problems.append)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            problems.append(BadInput("cli.styles.file", file=name, reason=reason))
    return merge_styles(files, problems)


def logged(data_dir: Path) -> StyleLibrary:
    """Read both files; log the entries that are left out and the built-in styles that are replaced."""
    found = load(data_dir)
    for problem in (*found.problems, *found.replaced):
        log.warning("%s", i18n.text("en", problem.key, **problem.params))
    return found
