"""Builds jobs and pictures for tests of cards."""

from __future__ import annotations

from dataclasses import replace

from bot.core.jobs import Job, JobState
from bot.core.pictures import Picture
from bot.core.requests import DrawRequest

REQUEST = DrawRequest(
    prompt="a red apple",
    typed="a red apple",
    negative="",
    width=256,
    height=144,
    steps=8,
    guidance=0.0,
    seed=7,
    count=2,
    model="demo",
)


def make_job(state: JobState, *, locale: str = "en", error: str = "", attempts: int = 0, **request: object) -> Job:
    return Job(
        id=12,
        state=state,
        person_id=1,
        account_id=1,
        place_id=None,
        request=replace(REQUEST, **request),  # type: ignore[arg-type]
        locale=locale,
        asker="Ann",
        attempts=attempts,
        created_at=0.0,
        seconds=1.234,
        error=error,
    )


def make_pictures(count: int, seed: int = 7) -> tuple[Picture, ...]:
    return tuple(
        Picture(
            id=i + 1,
            job_id=12,
            index=i,
            seed=seed + i,
            path=f"2026/01/02/12-{i}.png",
            bytes=99,
            created_at=0.0,
            width=256,
            height=144,
            seconds=0.6,
        )
        for i in range(count)
    )
