"""What the environment of the device's process is made of."""

from __future__ import annotations

import os

import pytest

from engine.host.spawn import environment

WAITS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WAITS:
        monkeypatch.delenv(name, raising=False)


def waits(*, calm: bool = True) -> dict[str, str]:
    return {name: value for name, value in environment({}, offline=True, calm=calm).items() if name in WAITS}


def test_its_threads_soon_sleep_where_they_wait() -> None:
    assert waits() == {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}
    assert waits(calm=False) == {}


@pytest.mark.parametrize("name", WAITS)
def test_whoever_says_how_threads_wait_has_their_own_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert waits() == waits(calm=False) == {name: "1"}


def test_easels_own_settings_stay_outside_and_what_is_given_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASEL_DISCORD_TOKEN", "secret")
    monkeypatch.setenv("HF_ENDPOINT", "https://one.example")
    found = environment({"HF_ENDPOINT": "https://two.example"}, offline=False)
    assert not any(name.startswith("EASEL_") for name in found)
    assert found["HF_ENDPOINT"] == "https://two.example"
    assert found["PATH"] == os.environ["PATH"]
    assert "HF_HUB_OFFLINE" not in found
    assert environment({}, offline=True)["HF_HUB_OFFLINE"] == "1"
