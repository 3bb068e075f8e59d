"""Whether a model reads the language that a prompt is in, as far as its script tells."""

from __future__ import annotations

import unicodedata

from engine.contract import Profile

_SCRIPTS = {
    "CJK": {"zh", "ja"},
    "HIRAGANA": {"ja"},
    "KATAKANA": {"ja"},
    "HANGUL": {"ko"},
    "BOPOMOFO": {"zh"},
    "CYRILLIC": {"ru", "uk", "bg", "sr", "be", "kk"},
    "ARABIC": {"ar", "fa", "ur"},
    "HEBREW": {"he", "yi"},
    "THAI": {"th"},
    "DEVANAGARI": {"hi", "mr", "ne"},
}
"""Languages (BCP 47) by the first word of their letters' names in Unicode. Latin letters tell too little, and Greek ones
are often signs."""


def is_read(text: str, profile: Profile) -> bool:
    """Return False where some of the text is in a script of none of the model's languages."""
    known = set(profile.languages)
    # ASCII is most of what comes, and its letters are all Latin.
    scripts = {
        unicodedata.name(char, "").partition(" ")[0] for char in set(text) if char.isalpha() and not char.isascii()
    }
    return all(_SCRIPTS[script] & known for script in scripts & _SCRIPTS.keys())
