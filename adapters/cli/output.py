"""Output of the command line, in the language of the terminal."""

from __future__ import annotations

import locale as system_locale
import os
import sys
from typing import TextIO

from bot.cards import i18n
from bot.core.cards import Card
from bot.core.errors import BadInput, Refusal, Unavailable
from bot.core.texts import clean
from engine.contract import EngineError, UnknownModel


def language() -> str:
    """Return ``zh_CN`` or ``en`` by LC_ALL, LC_MESSAGES or LANG, else by the system's setting."""
    asked = next((v for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (v := os.environ.get(name))), None)
    tag = asked or system_locale.getlocale()[0] or ""
    # Windows says "Chinese (Simplified)_China".
    return "zh_CN" if tag.lower().startswith("chinese") else i18n.locale_of(tag.partition(".")[0])


def text(key: str, **params: str | int | float) -> str:
    """Return a message of the catalogue."""
    return i18n.text(language(), key, **params)


def echo(key: str, **params: str | int | float) -> None:
    """Print a message on stdout."""
    write(text(key, **params), sys.stdout)


def echo_card(card: Card) -> None:
    """Print a card on stdout. Control characters in names are removed."""
    lines = [card.status, *card.notes, *(f"{fact.label}: {fact.value}" for fact in card.facts)]
    write("\n".join(" ".join(clean(line).split()) for line in lines if line), sys.stdout)


def report_error(refusal: Refusal) -> None:
    """Print a refusal as one line on stderr, in the command line's own wording where it has one."""
    _line(text(i18n.own_key("cli", refusal.key), **refusal.params))


def warn(key: str, **params: str | int | float) -> None:
    """Print a message as one line on stderr."""
    _line(text(key, **params))


def refusal_of(error: EngineError) -> Refusal:
    """Return the Refusal for an engine's error, with its sentence."""
    kind = BadInput if isinstance(error, UnknownModel) else Unavailable
    return kind(f"cli.engine.{error.code}", reason=str(error))


def _line(sentence: str) -> None:
    write(f"easel: {' '.join(sentence.split())}", sys.stderr)


def write(line: str, stream: TextIO) -> None:
    """Write a line and flush. After a broken pipe the stream is silenced, and the command goes on."""
    try:
        print(line, file=stream, flush=True)
    except OSError:
        silence(stream)


def silence(stream: TextIO) -> None:
    """Discard all further output of a stream, its buffer included: its reader is gone."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):
        pass  # no file descriptor
