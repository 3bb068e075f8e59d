"""Refusals keep their message key and fields."""

from __future__ import annotations

from bot.core.errors import BadInput, NotAllowed, NotFound, OverQuota, Refusal, Unavailable


def test_every_refusal_is_one_and_keeps_its_key_and_fields() -> None:
    for kind in (BadInput, OverQuota, NotAllowed, NotFound, Unavailable):
        refusal = kind("refusal.prompt.empty", n=1)
        assert isinstance(refusal, Refusal)
        assert (refusal.key, refusal.params) == ("refusal.prompt.empty", {"n": 1})
