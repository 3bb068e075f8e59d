"""`easel provenance init`: makes the keys that sign this Easel's pictures."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import sys

from adapters.cli import environment
from adapters.cli.output import echo, write
from bot.core.errors import BadInput
from bot.provenance.sealing import CHAIN, FOLDER, KEY, ROOT
from bot.storage import data_files

_NAME = "Easel"


def main(args: argparse.Namespace) -> int:
    """Make the keys. Returns 0; raises BadInput where there are keys already, or the package is missing."""
    settings = environment.settings()
    folder = settings.data_dir / FOLDER
    if importlib.util.find_spec("c2pa") is None:
        raise BadInput("cli.provenance.no_package")
    if (folder / KEY).exists() and not args.force:
        raise BadInput("cli.provenance.there", folder=str(folder))
    from bot.provenance.signing_keys import new_signing_keys  # noqa: PLC0415 - of the optional package

    name = args.name or settings.provenance_name or _NAME
    keys = new_signing_keys(name)
    made = {ROOT: keys.root, CHAIN: keys.chain, KEY: keys.key}
    # On a full disk the old ones stay.
    for file, data in made.items():
        asyncio.run(data_files.write(folder, _new(file), data))
    # The key is the last one: with it the others are there, and it is never beside the certificate of another key.
    (folder / KEY).unlink(missing_ok=True)
    for file in made:
        (folder / _new(file)).replace(folder / file)
    echo("cli.provenance.made", name=name, folder=str(folder))
    echo("cli.provenance.root_key")
    write(keys.root_key.decode().strip(), sys.stdout)
    return 0


def _new(file: str) -> str:
    return f"{file}.new"
