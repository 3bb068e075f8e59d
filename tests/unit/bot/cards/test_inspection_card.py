"""The words of an inspected file: what a signature proves and what is only claimed are never mixed up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.cards.i18n import LOCALES, text
from bot.cards.inspection_card import inspection_card, inspection_words
from bot.core.cards import Tone
from bot.core.inspection import TRAINED, Inspection, OwnFile, SealReport, SealState
from bot.core.pictures import ReadParameters

SEAL = SealReport(SealState.UNKNOWN_SIGNER, "Club Ink", "Easel 0.2.0", TRAINED)
FOUND = Inspection(
    "PNG", 64, 32, SEAL, TRAINED, {"xmp:CreatorTool": ("Easel 0.2.0",)},
    ReadParameters(tool="Easel", prompt="a cat", seed=7), "{}", ("missing",),
)  # fmt: skip


def labels(found: Inspection, group: str) -> set[str]:
    return {fact.label for fact in getattr(inspection_words(found, "en"), group)}


def test_what_the_signature_says_is_verified_only_where_its_signer_is_trusted() -> None:
    trusted = replace(FOUND, seal=replace(SEAL, state=SealState.TRUSTED))
    assert "Kind (signature)" in labels(FOUND, "claimed")
    assert "Kind (signature)" not in labels(FOUND, "verified")
    assert "Kind (signature)" in labels(trusted, "verified")
    assert "Kind (signature)" not in labels(trusted, "claimed")
    assert inspection_words(FOUND, "en").notes == (text("en", "inspect.claims"),)
    assert inspection_words(trusted, "en").notes == (text("en", "inspect.covered"),)
    for broken in (SealState.BROKEN, SealState.UNCHECKED, SealState.NONE):
        unproven = replace(FOUND, seal=replace(SEAL, state=broken))
        assert "Kind (signature)" not in labels(unproven, "verified") | labels(unproven, "claimed")


def test_the_card_has_all_of_it_and_its_tone_says_whether_something_is_wrong() -> None:
    card, words = inspection_card(FOUND, "en", own=OwnFile.NAMED), inspection_words(FOUND, "en", own=OwnFile.NAMED)
    assert (card.tone, card.prompt, card.private) == (Tone.PROBLEM, "a cat", True)
    assert card.facts == (*words.verified, *words.claimed, *words.recipe)
    assert card.notes == (text("en", "inspect.label.missing"), text("en", "inspect.claims"))
    assert text("en", "inspect.own.named") in {fact.value for fact in words.verified}
    assert inspection_card(replace(FOUND, label_faults=()), "en").tone is Tone.INFO


def test_a_prompt_that_stands_in_the_mark_alone_is_shown_once() -> None:
    claims: dict[str, tuple[str, ...]] = {"Iptc4xmpExt:AIPromptInformation": ("a cat",)}
    assert "Prompt (AI mark)" not in labels(replace(FOUND, claims=claims), "claimed")
    assert "Prompt (AI mark)" in labels(replace(FOUND, claims=claims, parameters=None), "claimed")


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("state", SealState)
@pytest.mark.parametrize("own", [None, *OwnFile])
def test_every_state_has_words(locale: str, state: SealState, own: OwnFile | None) -> None:
    words = inspection_words(replace(FOUND, seal=replace(SEAL, state=state)), locale, own=own)
    assert all(fact.label and fact.value and "inspect." not in fact.label + fact.value for fact in words.verified)
    assert len(words.verified) == 2 + (own is not None) + (state is SealState.TRUSTED)
