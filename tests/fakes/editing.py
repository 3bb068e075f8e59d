"""A profile that edits, beside one that does not."""

from __future__ import annotations

from dataclasses import replace

from engine.contract import Capability
from engine.families.z_image.spec import demo

PLAIN = demo()
"""It takes no references."""

EDITOR = replace(
    PLAIN,
    name="editor",
    title="The Editor",
    source="owner/editor",
    can=frozenset({Capability.EDIT, Capability.VARY}),
    references=3,
)
"""It takes three references, and no initial image."""
