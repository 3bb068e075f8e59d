"""A form stays within the limits of the platforms that show one."""

from __future__ import annotations

import pytest

from bot.core.cards import ButtonPress
from bot.core.forms import MAX_CHOICES, MAX_FIELDS, FieldKind, Form, FormChoice, FormField

PRESS = ButtonPress("edit", 7)


@pytest.mark.parametrize("count", [0, MAX_FIELDS + 1])
def test_a_form_has_as_many_fields_as_a_platform_shows(count: int) -> None:
    with pytest.raises(ValueError, match=f"of {count} fields"):
        Form("Edit", PRESS, tuple(FormField(f"f{n}", "Field") for n in range(count)))


def test_a_field_has_as_many_choices_as_a_platform_shows() -> None:
    choices = tuple(FormChoice(str(n), str(n)) for n in range(MAX_CHOICES + 1))
    assert Form("Edit", PRESS, (FormField("a", "A", kind=FieldKind.CHOICE, choices=choices[:MAX_CHOICES]),)).fields
    with pytest.raises(ValueError, match="choices"):
        Form("Edit", PRESS, (FormField("a", "A", kind=FieldKind.CHOICE, choices=choices),))
