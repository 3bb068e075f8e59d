"""Windows of limits."""

from __future__ import annotations

from bot.core.quotas import Window


def test_windows_have_their_lengths() -> None:
    assert [w.seconds for w in Window] == [3600, 24 * 3600, 7 * 24 * 3600, 24 * 3600]
