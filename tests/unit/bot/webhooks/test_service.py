"""When webhooks are due: after their job has ended, then with growing pauses, and no longer once they are given up."""

from __future__ import annotations

from bot.core.requests import DrawForm
from bot.drawing import job_actions
from bot.privacy import deletion
from bot.webhooks import service
from bot.webhooks.store import UNUSED_SECONDS
from tests.unit.bot.conftest import ADA, HERE, World, ref

URL, SECRET = "https://example.org/hook", "whsec_x"


async def asked(world: World, event: str = "e") -> int:
    """Ask for a picture with a webhook; returns the job."""
    assert await service.want(world.ctx, event, URL, SECRET)
    return (await world.studio.draw(ADA, HERE, DrawForm("a red apple"), ref(event))).job_id


async def due(world: World) -> list[int]:
    return [one.job.id for one in (await service.look(world.ctx, 10)).due]


async def test_it_is_due_when_its_job_has_ended(world: World) -> None:
    drawn, cancelled = await asked(world, "a"), await asked(world, "b")
    assert await due(world) == []
    assert (await service.look(world.ctx, 10)).exist
    await world.paint(drawn)
    assert await due(world) == [drawn]
    await job_actions.cancel(world.ctx, cancelled)
    (first, second) = (await service.look(world.ctx, 10)).due
    assert {first.job.id, second.job.id} == {drawn, cancelled}
    assert (first.webhook.url, first.webhook.secret) == (URL, SECRET)
    assert len((await service.look(world.ctx, 1)).due) == 1
    await service.delivered(world.ctx, first.webhook)
    await service.delivered(world.ctx, second.webhook)
    assert not (await service.look(world.ctx, 10)).exist


async def test_the_pauses_grow_and_end(world: World) -> None:
    await world.paint(await asked(world))
    for pause in service.PAUSES:
        ((webhook, _),) = [(one.webhook, one.job) for one in (await service.look(world.ctx, 10)).due]
        assert not await service.failed(world.ctx, webhook, final=False)
        assert await due(world) == []
        assert (await service.look(world.ctx, 10)).later == pause
        world.clock.advance(pause)
    (last,) = (await service.look(world.ctx, 10)).due
    assert await service.failed(world.ctx, last.webhook, final=False)
    assert await world.count("webhooks") == 0


async def test_a_final_failure_ends_it_at_once(world: World) -> None:
    await world.paint(await asked(world))
    (one,) = (await service.look(world.ctx, 10)).due
    assert await service.failed(world.ctx, one.webhook, final=True)
    assert await world.count("webhooks") == 0


async def test_the_same_event_again_has_no_second_one(world: World) -> None:
    await world.paint(await asked(world))
    assert not await service.want(world.ctx, "e", URL, SECRET)
    (one,) = (await service.look(world.ctx, 10)).due
    await service.delivered(world.ctx, one.webhook)
    assert not await service.want(world.ctx, "e", URL, SECRET)
    assert await world.count("webhooks") == 0


async def test_a_repeated_request_after_a_kill_has_the_last_secret(world: World) -> None:
    assert await service.want(world.ctx, "e", URL, SECRET)
    # The service was killed before the job was admitted.
    assert await service.want(world.ctx, "e", URL, "whsec_y")
    await world.paint((await world.studio.draw(ADA, HERE, DrawForm("a red apple"), ref())).job_id)
    (one,) = (await service.look(world.ctx, 10)).due
    assert one.webhook.secret == "whsec_y"


async def test_one_without_a_job_is_withdrawn_or_tidied_away(world: World) -> None:
    job = await asked(world, "a")
    await service.withdraw(world.ctx, "a")
    assert await world.count("webhooks") == 1
    await service.want(world.ctx, "b", URL, SECRET)
    await service.withdraw(world.ctx, "b")
    assert await world.count("webhooks") == 1
    await service.want(world.ctx, "c", URL, SECRET)
    await service.tidy(world.ctx)
    assert await world.count("webhooks") == 2
    world.clock.advance(UNUSED_SECONDS + 1)
    await service.tidy(world.ctx)
    await world.paint(job)
    assert (await due(world), await world.count("webhooks")) == ([job], 1)


async def test_nothing_is_told_of_a_deleted_job(world: World) -> None:
    job = await asked(world)
    await world.paint(job)
    await deletion.delete_job(world.ctx, ADA, HERE, job)
    assert await world.count("webhooks") == 0
