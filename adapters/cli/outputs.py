"""Where `easel draw` puts its pictures; everything that can be wrong with a path is said before anything is drawn."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from adapters.cli.environment import given_path
from bot.core.errors import BadInput, Unavailable
from bot.storage.blobs import MIN_FREE_BYTES

SUFFIX = ".png"


def plan(output: str, seeds: Sequence[int]) -> tuple[Path, ...]:
    """Return a path for each picture, in a folder that exists and can be written to.

    A path that ends in ``.png`` names the file (``a-1.png``, ``a-2.png`` for several); a folder, or a path without a
    suffix, is a folder that gets ``<time>-<seed>.png``.

    Raises:
        BadInput: It can't be written to, or it names a file of another kind.
        Unavailable: Hardly any disk space is left.
    """
    path = given_path(output)
    if _is_folder(path) or output.endswith(("/", os.sep)) or not path.suffix:
        now = datetime.now().astimezone()
        paths = tuple(path / f"{now:%Y%m%d-%H%M%S}-{seed}{SUFFIX}" for seed in seeds)
    elif path.suffix.lower() != SUFFIX:
        raise BadInput("cli.output.suffix", path=output, suffix=path.suffix)
    elif len(seeds) == 1:
        paths = (path,)
    else:
        paths = tuple(path.with_name(f"{path.stem}-{n}{path.suffix}") for n in range(1, len(seeds) + 1))
    _check(paths, output)
    return paths


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # a name that is too long, say: making it tells why


def _check(paths: Sequence[Path], output: str) -> None:
    folder = paths[0].parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Asking for rights tells less than writing (read-only mounts, quotas, names that are too long).
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".easel-"):
            pass
        if any(path.is_dir() for path in paths):
            raise IsADirectoryError(21, "Is a directory")
        free = shutil.disk_usage(folder).free
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput("cli.output.unwritable", path=output, reason=reason) from None
    if free < MIN_FREE_BYTES:
        raise Unavailable("unavailable.disk_full")
