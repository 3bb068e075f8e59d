"""Messages in the person's language: catalogues read from their .po files, compiled in memory."""

from __future__ import annotations

import gettext
import io
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from bot.cards import durations
from bot.core.cards import Instant
from bot.core.errors import Key

LOCALES = ("en", "zh_CN")
"""The languages that Easel speaks; the first is taken for all others."""

_ARGUMENT = re.compile(r"<([a-z]+)>")


@lru_cache(maxsize=256)
def locale_of(tag: str | None) -> str:
    """Map a language tag of any platform (``zh-TW``, ``en_GB``, ``de``, None) to a locale that Easel speaks."""
    language = (tag or "").replace("_", "-").partition("-")[0].lower()
    return "zh_CN" if language == "zh" else "en"


@cache
def catalogue(locale: str) -> Catalog:
    """Read the catalogue of one of LOCALES, as its .po file has it."""
    path = resources.files("bot.cards") / "locales" / locale / "LC_MESSAGES" / "easel.po"
    with path.open("rb") as file:
        return read_po(file, locale=locale)


@cache
def _translations(locale: str) -> gettext.GNUTranslations:
    compiled = io.BytesIO()
    write_mo(compiled, catalogue(locale))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def known(key: str) -> bool:
    """Whether the catalogues have a message under that key."""
    return bool(key) and key in catalogue(LOCALES[0])


def own_key(surface: str, key: str) -> str:
    """Return the key of a surface's own wording, such as ``refusal.lora.unknown.cli``; the key itself if it has none.

    Args:
        surface: The last part of its keys: ``cli`` or ``web``, where people type no commands of chats; empty for none.
        key: Message id.
    """
    own = f"{key}.{surface}"
    return own if surface and known(own) else key


def texts(locale: str, prefix: str) -> dict[str, str]:
    """Return every message whose key starts with ``prefix``, with its fields still in braces."""
    messages = catalogue(locale_of(locale))
    return {
        message.id: message.string
        for message in messages
        if isinstance(message.id, str) and isinstance(message.string, str) and message.id.startswith(prefix)
    }


def text(locale: str, key: str, **params: str | int | float) -> str:
    """Return one message with its fields filled in.

    Args:
        locale: Any language tag.
        key: Message id.
        **params: Values of the fields. ``n`` also chooses the plural form. ``wait`` is in seconds and becomes "in 3
            hours". ``usage`` is how a command is written, with arguments' names such as ``<person>`` still to be translated.
            A ``Key`` is translated first; any other text is data.
    """
    locale = locale_of(locale)
    if not params:
        return _plain(locale, key)
    translations = _translations(locale)
    message = key
    if "n" in params:
        message = translations.ngettext(key, key, int(params["n"]))
    if message == key:
        message = translations.gettext(key)
    return message.format_map(_filled(locale, params))


@cache
def _plain(locale: str, key: str) -> str:
    """Return a message without fields; cards have some twenty of them. ``locale`` is one of LOCALES."""
    return _translations(locale).gettext(key).format_map({})


def instant(locale: str, wait: float, now: float) -> Instant:
    """Return the moment in ``wait`` seconds from ``now`` (Unix seconds), in the words that ``text`` has for ``wait``."""
    return Instant(durations.from_now(wait, locale_of(locale)), now + wait)


def _filled(locale: str, params: Mapping[str, str | int | float]) -> Mapping[str, str | int | float]:
    filled, translations = dict(params), _translations(locale)
    for name, value in params.items():
        if name == "wait" and not isinstance(value, str):
            filled[name] = durations.from_now(value, locale)
        elif name == "usage" and isinstance(value, str):
            filled[name] = _ARGUMENT.sub(lambda found: translations.gettext(f"argument.{found[1]}"), value)
        elif isinstance(value, Key):
            filled[name] = translations.gettext(value)
    return filled
