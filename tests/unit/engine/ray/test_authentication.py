from __future__ import annotations

import subprocess
from typing import Any

import pytest

from engine.ray import authentication, driver, wire


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the processes that ask without a token do, in order: exit code and stderr, or an exception."""
    planned: list[Any] = []

    def run(command: list[str], *, env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[-2:] == ["engine.ray.authentication", "far:6379"]
        assert {name: value for name, value in env.items() if name.startswith("RAY_AUTH_")} == {
            "RAY_AUTH_MODE": "disabled"
        }
        answer = planned.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return subprocess.CompletedProcess(command, answer[0], "", answer[1])

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/etc/easel/token")
    return planned


def test_a_cluster_that_answers_without_a_token_is_open(answers: list[Any]) -> None:
    answers += [(0, ""), (3, "InvalidAuthToken")]
    assert authentication.is_open("far:6379")
    assert not authentication.is_open("far:6379")


def test_an_open_cluster_is_refused_for_good_and_a_wrong_token_for_now(
    answers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    admitted = [False, True]
    monkeypatch.setattr(authentication, "is_admitted", lambda _: admitted.pop(0))
    answers += [(0, ""), (3, ""), (3, "")]
    refused, wrong = driver._unauthenticated("far:6379"), driver._unauthenticated("far:6379")
    assert refused is not None
    assert (refused.reason, refused.passing) == (wire.OPEN, False)
    assert wrong is not None
    assert (wrong.reason, wrong.passing) == (wire.WRONG_TOKEN, True)
    assert "/etc/easel/token" in wrong.problem
    assert driver._unauthenticated("far:6379") is None


def test_what_cannot_be_found_out_lets_nobody_in(answers: list[Any]) -> None:
    answers += [(1, "Traceback\nRuntimeError: no cluster\n"), (9, ""), subprocess.TimeoutExpired("python", 30)]
    for why in ("RuntimeError: no cluster", "exit code 9", "no answer within 30 s"):
        failed = driver._unauthenticated("far:6379")
        said = f"It can't be seen whether the Ray cluster at far:6379 asks for a token: {why}."
        assert failed == wire.JoinFailed(said, passing=True)
