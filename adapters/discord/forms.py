"""Forms as modals, and the values of a modal that comes back. No modal is kept: its custom id names the form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import discord

from bot.core.forms import FieldKind, Form, FormField
from bot.core.texts import clip

TITLE_CHARS = LABEL_CHARS = 45
OPTION_CHARS = 100
TEXT_CHARS = 4000
"""Discord's limits of a modal (https://discord.com/developers/docs/components/reference#text-input)."""


def modal_of(form: Form) -> discord.ui.Modal:
    """Return a form as a modal. Needs a running event loop."""
    modal = discord.ui.Modal(title=clip(form.title, TITLE_CHARS), custom_id=form.press.pack())
    for field in form.fields:
        modal.add_item(discord.ui.Label(text=clip(field.label, LABEL_CHARS), component=_component(field)))
    # A stopped modal is sent but not stored: it is answered from its custom id, also after a restart.
    modal.stop()
    return modal


def values_of(interaction: discord.Interaction) -> dict[str, str]:
    """Return the values of a submitted modal by the field's name; a select that was left empty is an empty text."""
    data: Mapping[str, Any] = interaction.data or {}
    return dict(_values(data.get("components", ())))


def _component(field: FormField) -> discord.ui.TextInput[Any] | discord.ui.Select[Any]:
    if field.kind is FieldKind.CHOICE:
        options = [
            discord.SelectOption(
                label=clip(choice.label, OPTION_CHARS), value=choice.value, default=choice.value == field.value
            )
            for choice in field.choices
        ]
        return discord.ui.Select(
            custom_id=field.name, options=options, min_values=int(field.required), required=field.required
        )
    limit = min(field.max_length, TEXT_CHARS)
    return discord.ui.TextInput(
        custom_id=field.name,
        style=discord.TextStyle.long if field.kind is FieldKind.LONG else discord.TextStyle.short,
        default=field.value[:limit] or None,
        required=field.required,
        max_length=limit,
    )


def _values(components: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    for part in components:
        if "component" in part:  # a label
            yield from _values((part["component"],))
        elif "components" in part:  # a row
            yield from _values(part["components"])
        elif "custom_id" in part and "values" in part:
            yield str(part["custom_id"]), str(next(iter(part["values"]), ""))
        elif "custom_id" in part and "value" in part:
            yield str(part["custom_id"]), str(part["value"] or "")
