"""Cards of drawing: the list of LoRAs."""

from __future__ import annotations

from collections.abc import Sequence

from bot.cards.i18n import text
from bot.core.cards import Card, Fact, Tone
from bot.core.texts import shown
from engine.contract import LoraInfo, Profile

SHOWN = 20
"""Most LoRAs on a card."""


def loras_card(loras: Sequence[LoraInfo], profile: Profile, locale: str, *, words: str = "") -> Card:
    """Return the list of LoRAs with their titles and trigger words.

    Args:
        loras: Those that fit the model and that the person may use; only those with ``words`` where some were typed.
        profile: The model.
        locale: The person's locale.
        words: What the list was searched for; empty for all.
    """
    if not loras:
        status = (
            text(locale, "card.loras.not_found", words=shown(words), model=profile.title)
            if words
            else text(locale, "card.loras.none", model=profile.title)
        )
        return Card(Tone.INFO, status, private=True, final=True, locale=locale)
    notes = [text(locale, "note.loras.how", example=f"{loras[0].name}:0.8")]
    if len(loras) > SHOWN:
        notes.append(text(locale, "note.loras.more", n=len(loras) - SHOWN))
    return Card(
        Tone.INFO,
        text(locale, "card.loras", n=len(loras), model=profile.title),
        notes=tuple(notes),
        facts=tuple(Fact(lora.name, _line(lora, locale)) for lora in loras[:SHOWN]),
        private=True,
        final=True,
        locale=locale,
    )


def _line(lora: LoraInfo, locale: str) -> str:
    if not lora.triggers:
        return lora.title
    return text(locale, "loras.line", title=lora.title, triggers=", ".join(lora.triggers))
