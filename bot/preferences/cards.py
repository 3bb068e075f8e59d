"""Cards of preferences: one's own settings, the defaults of a place or channel, and who may use what there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bot.cards.i18n import text
from bot.core.cards import Button, ButtonPress, Card, Fact, Tone
from bot.core.preferences import RECIPE
from bot.core.texts import shown

SETTINGS = "settings"
"""Action of the buttons on the card of one's own settings."""

_IN_A_ROW = 4


def settings_card(values: Mapping[str, str], names: Sequence[str], locale: str, *, changed: bool) -> Card:
    """Return what somebody has set for their requests, with a button for each setting.

    Args:
        values: What is set, by name.
        names: All settings, in order; their index is in the buttons.
        locale: The person's language.
        changed: Whether something was just changed.
    """
    facts = tuple(
        Fact(text(locale, f"form.{name}"), _value(name, values[name], locale)) for name in names if name in values
    )
    status = "card.settings.changed" if changed else "card.settings"
    buttons = [Button(text(locale, f"form.{name}"), ButtonPress(SETTINGS, index)) for index, name in enumerate(names)]
    if values:
        buttons.append(Button(text(locale, "button.settings"), ButtonPress(SETTINGS, len(names)), danger=True))
    return Card(
        Tone.INFO,
        text(locale, status if values else "card.settings.none"),
        notes=(text(locale, "note.settings"),),
        facts=facts,
        buttons=tuple(tuple(buttons[i : i + _IN_A_ROW]) for i in range(0, len(buttons), _IN_A_ROW)),
        private=True,
        final=True,
        locale=locale,
    )


def _value(name: str, value: str, locale: str) -> str:
    return text(locale, f"choice.{value}") if name in {"private", "language", RECIPE} else value


def defaults_card(place: Mapping[str, str], channel: Mapping[str, str], locale: str, *, changed: bool) -> Card:
    """Return the defaults of a place, and those of the channel where the command was used."""
    facts = [
        Fact(text(locale, f"choice.{where}"), _listed(values) or text(locale, "settings.usual"))
        for where, values in (("place", place), ("channel", channel))
    ]
    return Card(
        Tone.INFO,
        text(locale, "card.defaults.changed" if changed else "card.defaults"),
        notes=() if changed else (text(locale, "note.defaults"),),
        facts=tuple(facts),
        private=True,
        final=True,
        locale=locale,
    )


def rights_card(rights: Mapping[str, Sequence[str]], locale: str, *, changed: bool = False) -> Card:
    """Return who may use which model and LoRA in a place, as far as its admins have narrowed it."""
    facts = tuple(Fact(key.replace(":", " "), _who(allowed, locale)) for key, allowed in sorted(rights.items()))
    if changed:
        status = text(locale, "card.rights.changed")
    else:
        status = text(locale, "card.rights" if rights else "card.rights.none")
    return Card(
        Tone.INFO,
        status,
        notes=() if changed else (text(locale, "note.rights"),),
        facts=facts,
        private=True,
        final=True,
        locale=locale,
    )


def _who(allowed: Sequence[str], locale: str) -> str:
    return ", ".join(text(locale, "choice.admins") if who == "admins" else shown(who) for who in allowed)


def _listed(values: Mapping[str, str]) -> str:
    return " · ".join(f"{name} {shown(value)}" for name, value in values.items())
