"""Forms that people fill in: their fields, and the button's action that gets the values. Each surface shows them its own way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bot.core.cards import Button, ButtonPress

MAX_FIELDS = 5
"""Discord's limit for a modal, the smallest of all platforms that have forms."""

MAX_CHOICES = 25
"""Discord's limit for a select."""

SHORT_CHARS = 200
"""Most characters of a SHORT field."""


class FieldKind(StrEnum):
    """What a field looks like: one line of text, several lines, or one of its choices."""

    SHORT = "short"
    LONG = "long"
    CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class FormChoice:
    """A choice of a field: the value that is submitted, and what people read."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of a form. All texts are data, never markup.

    Attributes:
        name: Names its value in the submission.
        label: In the person's language; at most 45 characters.
        value: The current value; of a CHOICE the value of one of them, or empty.
        kind: What it looks like.
        required: Whether it may not be left empty.
        max_length: Most characters, 1 to 4000; for SHORT and LONG alone.
        choices: For CHOICE alone; 1 to 25.
    """

    name: str
    label: str
    value: str = ""
    kind: FieldKind = FieldKind.SHORT
    required: bool = False
    max_length: int = SHORT_CHARS
    choices: tuple[FormChoice, ...] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """A form. It is not stored: one that was opened before a restart can be submitted after it.

    Attributes:
        title: At most 45 characters.
        press: Its action gets the values (``Studio.submit``); the registry's command must have ``form``.
        fields: 1 to 5.
        line: The command that does the same, with the current values, as people type it where a surface has no forms.
        notes: Sentences about the line, such as what it leaves out.
        buttons: The choices of a form of one choice as buttons, for where a surface has no forms.
    """

    title: str
    press: ButtonPress
    fields: tuple[FormField, ...]
    line: str = ""
    notes: tuple[str, ...] = ()
    buttons: tuple[tuple[Button, ...], ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.fields) <= MAX_FIELDS:
            raise ValueError(f"a form of {len(self.fields)} fields; 1 to {MAX_FIELDS} are allowed")
        if any(len(field.choices) > MAX_CHOICES for field in self.fields):
            raise ValueError(f"a field of more than {MAX_CHOICES} choices")
