"""What the command line says, in the language of the person's terminal."""

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
    """Return ``zh_CN`` or ``en``: what LC_ALL, LC_MESSAGES or LANG ask for, else the system's own setting."""
    asked = next((v for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (v := os.environ.get(name))), None)
    tag = asked or system_locale.getlocale()[0] or ""
    # Windows says "Chinese (Simplified)_China".
    return "zh_CN" if tag.lower().startswith("chinese") else i18n.locale_of(tag.partition(".")[0])


def text(key: str, **params: str | int | float) -> str:
    """Return a message of the catalogue."""
    return i18n.text(language(), key, **params)


def echo(key: str, **params: str | int | float) -> None:
    """Say something on stdout."""
    write(text(key, **params), sys.stdout)


def echo_card(card: Card) -> None:
    """Say on stdout what a card says. Names in it are data: nothing in them reaches the terminal as a command."""
    lines = [card.status, *card.notes, *(f"{fact.label}: {fact.value}" for fact in card.facts)]
    write("\n".join(" ".join(clean(line).split()) for line in lines if line), sys.stdout)


def report_error(refusal: Refusal) -> None:
    """Say in one line on stderr what was wrong and what to do."""
    _line(text(refusal.key, **refusal.params))


def warn(key: str, **params: str | int | float) -> None:
    """Say something worth knowing in one line on stderr."""
    _line(text(key, **params))


def refusal_of(error: EngineError) -> Refusal:
    """Return what the engine's error means to the person at the terminal; its own sentence stands in it."""
    kind = BadInput if isinstance(error, UnknownModel) else Unavailable
    return kind(f"cli.engine.{error.code}", reason=str(error))


def _line(sentence: str) -> None:
    write(f"easel: {' '.join(sentence.split())}", sys.stderr)


def write(line: str, stream: TextIO) -> None:
    """Write a line at once. Where nobody reads the stream any more, the command goes on without it."""
    try:
        print(line, file=stream, flush=True)
    except OSError:
        silence(stream)


def silence(stream: TextIO) -> None:
    """Let everything that is written to a stream, its buffer included, go nowhere: its reader is gone."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):
        pass  # no file behind it
