"""`easel backup FILE` and `easel restore FILE`: the whole service in one file, also while it runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from adapters.cli import environment, lock
from adapters.cli.output import echo, warn
from bot.core.errors import Unavailable
from bot.storage import archive
from bot.storage.archive import Folder
from bot.storage.backup import megabytes

_WORTH_SAYING = 256 * 2**20
"""Bytes from which progress is shown."""

_STEP = 10


class _Progress:
    """Reports each tenth on stderr, if there is much to copy."""

    def __init__(self) -> None:
        self._said = 0

    def __call__(self, done: int, total: int) -> None:
        percent = 100 * done // max(1, total)
        if total < _WORTH_SAYING or percent < self._said + _STEP:
            # The database is copied first, then everything is written: the second phase counts from 0 again.
            self._said = min(self._said, percent)
            return
        self._said = percent - percent % _STEP
        warn("cli.backup.progress", percent=percent, size=megabytes(total))


def main(args: argparse.Namespace) -> int:
    """Back up, or put a backup in place. Returns 0; raises Refusal."""
    data = environment.settings().data_dir
    folder = Folder(data, environment.DATABASE, environment.PICTURES)
    path = environment.given_path(args.file)
    try:
        if args.command == "backup":
            _save(folder, path, pictures=args.pictures, overwrite=args.force)
        else:
            with lock.held(data):
                _restore(folder, path)
    except OSError as error:
        raise Unavailable("cli.backup.failed", path=str(path), reason=error.strerror or str(error)) from error
    return 0


def _save(folder: Folder, path: Path, *, pictures: bool, overwrite: bool) -> None:
    saved = archive.save(folder, path, pictures=pictures, overwrite=overwrite, progress=_Progress())
    echo("cli.backup.done", path=str(path), version=saved.version, files=saved.files, size=megabytes(saved.size))
    if saved.missing:
        warn("cli.backup.missing", n=saved.missing)


def _restore(folder: Folder, path: Path) -> None:
    restored = archive.restore(folder, path, _Progress())
    echo("cli.restore.done", path=str(folder.db), version=restored.version, files=restored.files)
    if restored.old is not None:
        echo("cli.restore.old", path=str(restored.old))
    if restored.missing:
        warn("cli.restore.missing", n=restored.missing)
