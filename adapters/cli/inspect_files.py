"""`easel inspect FILE...`: what picture files of any origin say of themselves, verified or only claimed. Never on the network."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from adapters.cli import environment
from adapters.cli.output import echo_card, language, report_error, write
from bot.cards.inspection_card import inspection_card
from bot.core.errors import BadInput, Refusal
from bot.core.image_parts import NotAnImage
from bot.core.inspection import MAX_FILE, Inspection
from bot.core.texts import clean
from bot.provenance.inspection import inspect
from bot.provenance.inspector import certificates_in, root_certificate

MARKED, UNMARKED, UNREADABLE, FAULTY = 0, 1, 2, 3
"""Exit codes; of several files, the highest."""


def main(args: argparse.Namespace) -> int:
    """Inspect files. Returns one of the exit codes above; raises Refusal for a certificate that can't be read.

    Besides the certificates that are given, this Easel's own root is trusted, as on its page.
    """
    anchors = [*(one for path in args.trust for one in _certificates(path)), *_own_root()]
    codes = []
    found: list[dict[str, Any]] = []
    for path in args.files:
        try:
            one = _inspect(path, anchors)
        except Refusal as refusal:
            codes.append(UNREADABLE)
            report_error(refusal)
            continue
        codes.append(FAULTY if one.is_faulty else MARKED if one.is_marked else UNMARKED)
        if args.json:
            found.append({"file": path, **inspection_json(one)})
        else:
            if len(args.files) > 1:
                write(f"{path}:", sys.stdout)
            card = inspection_card(one, language())
            if card.prompt:
                write(clean(card.prompt), sys.stdout)
            echo_card(card)
    if args.json:
        write(json.dumps(found, ensure_ascii=False, indent=2), sys.stdout)
    return max(codes)


def inspection_json(found: Inspection) -> dict[str, Any]:
    """Return an inspection as JSON."""
    values = asdict(found)
    values["marked"], values["faulty"] = found.is_marked, found.is_faulty
    if values["parameters"] is not None:
        values["parameters"].pop("text")
    return values


def _certificates(path: str) -> list[bytes]:
    if found := certificates_in(_read(path)):
        return found
    # Otherwise each signature would be called broken.
    raise BadInput("cli.inspect.no_certificate", path=path)


def _own_root() -> list[bytes]:
    """Return the root certificate of the data folder; nothing where there is none."""
    try:
        found = root_certificate(environment.settings())
    except Refusal:
        # Files are read also where the settings are wrong: the doctor says what is.
        return []
    return [] if found is None else [found]


def _inspect(path: str, anchors: list[bytes]) -> Inspection:
    try:
        return inspect(_read(path), anchors)
    except NotAnImage:
        raise BadInput("cli.inspect.no_image", path=path) from None


def _read(path: str) -> bytes:
    try:
        with environment.given_path(path).open("rb") as file:
            return file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput("cli.image.unreadable", path=path, reason=reason) from None
