"""What one person may have open at the same time."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from adapters.web.errors import TooManyRequests
from adapters.web.person_limits import MOST_STREAMS, PersonLimit
from bot.core.sign_in import PAGE_OWNER
from tests.unit.adapters.web.harness import ADA, BOB, WebHarness, error_of


def test_each_person_has_places_of_their_own() -> None:
    limit = PersonLimit(1)
    places = [limit.hold(one) for one in (ADA, BOB, PAGE_OWNER, PAGE_OWNER)]
    with ExitStack() as stack:
        for place in places:
            stack.enter_context(place)
        with pytest.raises(TooManyRequests):
            stack.enter_context(limit.hold(ADA))
    with limit.hold(ADA):
        pass
    assert not limit._open


@pytest.mark.parametrize("path", ["/api/events", "/api/v1/events", "/api/jobs/{job}/events"])
async def test_nobody_takes_the_streams_of_all(held: WebHarness, path: str) -> None:
    ada, bob = await held.key_for("ada"), await held.key_for("bob")
    jobs = []
    for key in (ada, bob):
        status, answer = await held.post("/api/draw", {"key": held.key(), "prompt": "a cat"}, headers=key)
        assert status == 201
        jobs.append(answer["card"]["job_id"])
    streams = [await held.client.get(path.format(job=jobs[0]), headers=ada) for _ in range(MOST_STREAMS)]
    assert {stream.status for stream in streams} == {200}
    async with held.client.get(path.format(job=jobs[0]), headers=ada) as refused:
        assert refused.status == 429
        assert error_of(await refused.json())[0] == "refusal.web.open"
    streams.append(await held.client.get(path.format(job=jobs[1]), headers=bob))
    assert streams[-1].status == 200
    for stream in streams:
        stream.close()
