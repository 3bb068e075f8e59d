"""Prompts that readers of files could misread, and what a reader should say of a prompt."""

from __future__ import annotations

import random

FRAGMENTS = (
    "Negative prompt:", "negative prompt:", "Negative\u00a0prompt:", "Steps: 20", "Steps:", "Sampler: X", "Seed: 5",
    "Size: 1x1", "Template: ", "Negative Template: ", "Hashes: {}", ", Hashes: {x}", ', Civitai resources: [{"a":1}]',
    "Resources: ", "Lora hashes: ", "Version: Easel 9", "<lora:ink:1>", "<rdf:li>", "</rdf:RDF>", "<!--", "]]>", "<?x",
    "&amp;", "&#0;", "&", "<", ">", "'", '"', "\\", "\\n", "{ready}", "${x}", "%s", ",", ", ", ":", ": ", "\n", "\n\n",
    "\r\n", " ", "\t", "\u00a0", "\u2028", "\u2029", "\u200b", "\u202e", "é", "e\u0301", "ß", "一", "最", "\u3000", "猫",
    "在夜空中，", "🐈", "👩‍🎨", "🇨🇳", "\U0010ffff", "\ue000", "a cat", "UNICODE", "ASCII\0\0\0",
)  # fmt: skip
"""Parts of texts: markers of the formats, markup, escapes, spaces of all kinds, Chinese and emoji."""

LEFT_OUT = "\ufeff\ufffe\uffff"
"""Characters that stand for a byte order or for nothing; control characters and lone surrogates are left out too."""


def squeezed(text: str) -> str:
    """Return a text with one space for any spaces and line breaks: lines are joined where they would be misread."""
    return " ".join(text.split())


def said_of(prompt: str) -> str:
    """Return what a reader should say of a prompt, squeezed: without the characters that are left out."""
    kept = "".join(
        char
        for char in prompt
        if char in "\t\n"
        or not (char < " " or "\x7f" <= char <= "\x9f" or "\ud800" <= char <= "\udfff" or char in LEFT_OUT)
    )
    return squeezed(kept)


def prompts(seed: int, count: int) -> list[str]:
    """Return prompts, the same ones for the same seed; none is empty."""
    chance = random.Random(seed)
    made: list[str] = []
    while len(made) < count:
        parts = [
            chance.choice(FRAGMENTS) if chance.random() < 0.7 else chr(chance.randrange(0x20, 0x30000))
            for _ in range(chance.randint(1, 40))
        ]
        if said_of(text := "".join(parts)):
            made.append(text)
    return made
