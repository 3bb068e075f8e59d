"""One's own pictures and rows as ZIP files: all of one's own, nothing of others', in parts, once, after any kill."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from bot.context import AppContext
from bot.core.cards import ButtonPress
from bot.core.errors import BadInput, NotFound, OverQuota, Unavailable
from bot.core.messages import Address, EventRef
from bot.core.people import Place
from bot.drawing import job_actions
from bot.history import store as history_rows
from bot.privacy import exports
from bot.privacy.deletion import forget
from bot.privacy.store import exports as export_rows
from bot.provenance.inspection import inspect
from bot.storage import pictures
from engine.contract import LoraInfo
from tests.fakes.engine import FakeEngine
from tests.fakes.source_images import picture
from tests.fakes.surface import ABLE
from tests.flow.conftest import Make
from tests.flow.harness import CHAT, Bot, Hang

HERE = Place("chat", None, CHAT)
LINK = "https://easel.example/"

FILE_COLUMNS = {"image", "mask", "references", "path"}
"""Columns that name a file: an export holds the file instead."""


def ref(event: str = "export", user: str = "1") -> EventRef:
    return EventRef(event, Address("chat", CHAT, user=user, message="9", reply_to="8"))


def linked(bot: Bot) -> AppContext:
    return replace(bot.ctx, public_url=LINK)


def sent(bot: Bot, user: str = "1") -> list[bytes]:
    """The ZIP files that the person was sent alone."""
    seen = [s for name, s in bot.chats.messages.items() if s.chat == f"@{user}" and name not in bot.chats.deleted]
    return [file.path.read_bytes() for s in seen for file in s.files]


def export_files(bot: Bot) -> list[str]:
    return sorted(path.name for path in (bot.folder / "exports").glob("*"))


def unpacked(*archives: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for data in archives:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.testzip() is None
            for name in archive.namelist():
                assert name not in files
                assert not Path(name).is_absolute()
                assert ".." not in name
                files[name] = archive.read(name)
    return files


async def two_people(bot: Bot) -> tuple[int, int, int]:
    """Ann's album, her picture from a given one that Bob drew again, and Bob's."""
    first = await bot.ask("an apple ../../etc", count="4")
    second = await bot.ask("a sea", image=picture())
    await bot.delivered(second.id)
    bobs = EventRef("chat:bob", Address("chat", CHAT, user="2"))
    third = await job_actions.reroll(bot.ctx, bot.actor("2"), HERE, ButtonPress("reroll", second.id), bobs)
    await bot.delivered(first.id)
    await bot.delivered(third.id)
    await bot.ask("the secret of Bob", user="2")
    return first.id, second.id, third.id


async def test_all_of_ones_own_and_nothing_of_others(make: Make) -> None:
    bot = await make()
    first, second, third = await two_people(bot)
    async with bot.db.write() as tx:
        await history_rows.add_favourite(tx, 1, (await pictures.of_job(tx, first))[:1], now=5.0)
    assert await exports.request_export(bot.ctx, bot.actor(), ref()) is None
    await bot.until(lambda: sent(bot))
    files = unpacked(*sent(bot))
    kept = {f"{first}-{i}.png" for i in range(4)} | {f"{second}-0.png"}
    stored = {p.name: p.read_bytes() for p in bot.pictures.rglob("*.png")}
    assert {data for name, data in files.items() if name.startswith("pictures/")} == {stored[name] for name in kept}
    (given,) = [data for name, data in files.items() if name.startswith("inputs/")]
    assert given == next((bot.folder / "inputs").iterdir()).read_bytes()
    person = json.loads(files["person.json"])
    assert person["accounts"][0]["user_id"] == "1"
    assert person["favourites"] == [{"job_id": first, "index": 0, "at": 5.0}]
    (jobs,) = [json.loads(data) for name, data in files.items() if name.startswith("jobs-")]
    assert [job["id"] for job in jobs] == [first, second]
    assert jobs[0]["typed"] == "an apple ../../etc"
    assert [line["kind"] for line in jobs[0]["ledger"]] == ["reserve", "charge"]
    assert all(picture["file"] in files for job in jobs for picture in job["pictures"])
    assert b"Bob" not in b"".join(files.values())
    assert b"user 2" not in b"".join(files.values())
    # Bob drew from Ann's picture; it is in his own export no more than she is.
    await exports.request_export(bot.ctx, bot.actor("2"), ref("bobs", "2"))
    await bot.until(lambda: sent(bot, "2"))
    bobs = unpacked(*sent(bot, "2"))
    assert [name for name in bobs if name.startswith("inputs/")] == []
    assert f"pictures/easel-{third}-1.png" in bobs


async def test_an_export_has_the_recipes_that_files_do_not_tell(make: Make) -> None:
    bot = await make()
    job = await bot.ask("a secret garden --seed 7", private=True)
    await bot.delivered(job.id)
    async with bot.db.read() as tx:
        batch = await export_rows.batch(tx, 1, "pictures", after=0, limit=9)
    (exported,) = json.loads(json.dumps(batch.jobs))
    (drawn,) = exported["pictures"]
    found = inspect((bot.folder / batch.files[0].path).read_bytes())
    assert (found.is_marked, found.parameters) == (True, None)
    told = [exported[name] for name in ("typed", "prompt", "seed", "steps", "guidance", "model")] + [drawn["seed"]]
    asked = job.request
    assert told == [asked.typed, asked.prompt, 7, asked.steps, asked.guidance, asked.model, 7]


async def test_every_column_of_jobs_and_pictures_is_exported_or_internal(make: Make) -> None:
    bot = await make()
    job = await bot.ask("an apple")
    await bot.delivered(job.id)
    async with bot.db.write() as tx:
        await tx.execute_fetchall("UPDATE pictures SET notes = '[\"prompt_cut\"]', device = 'cpu', setup = 'abc'")
        batch = await export_rows.batch(tx, 1, "pictures", after=0, limit=9)
        stored = {
            table: {row[1] for row in await tx.execute_fetchall(f"PRAGMA table_info({table})")}
            for table in ("jobs", "pictures")
        }
    (exported,) = json.loads(json.dumps(batch.jobs))
    (drawn,) = exported["pictures"]
    for table, row, internal in (
        ("jobs", exported, export_rows.INTERNAL_JOB_COLUMNS),
        ("pictures", drawn, export_rows.INTERNAL_PICTURE_COLUMNS),
    ):
        assert internal.keys() <= stored[table]
        assert stored[table] - internal.keys() - FILE_COLUMNS == stored[table] & row.keys(), table
    assert (drawn["notes"], drawn["device"], drawn["setup"]) == (["prompt_cut"], "cpu", "abc")
    assert (exported["state"], exported["private"]) == ("delivered", False)


async def test_loras_are_exported_by_name_and_weight(make: Make) -> None:
    bot = await make(engine=FakeEngine(loras=(LoraInfo("ink", "Ink"), LoraInfo("pixel", "Pixel"))))
    job = await bot.ask("an apple <lora:pixel:0.8> <lora:ink:-0.5>")
    await bot.delivered(job.id)
    await exports.request_export(bot.ctx, bot.actor(), ref())
    await bot.until(lambda: sent(bot))
    files = unpacked(*sent(bot))
    (jobs,) = [json.loads(data) for name, data in files.items() if name.startswith("jobs-")]
    assert jobs[0]["loras"] == [{"name": "pixel", "weight": 0.8}, {"name": "ink", "weight": -0.5}]


@pytest.mark.parametrize(("everywhere", "there"), [(6000, None), (6000, 10**6), (10**6, 6000)])
async def test_no_part_is_larger_than_the_platform_takes(make: Make, everywhere: int, there: int | None) -> None:
    bot = await make(replace(ABLE, max_file=everywhere))
    await two_people(bot)
    asked = Address("chat", CHAT, user="1", max_file=there)
    await exports.request_export(bot.ctx, bot.actor(), EventRef("export", asked))
    await bot.until(lambda: bool(export_files(bot)) and len(sent(bot)) == len(export_files(bot)))
    await bot.quiet()
    parts = sent(bot)
    assert len(parts) > 1
    assert max(len(part) for part in parts) <= 6000
    files = unpacked(*parts)
    left_out = json.loads(files.get("left-out.json", b"[]"))
    held = [name for name in files if name.startswith(("pictures/", "inputs/"))]
    assert len(set(held) | set(left_out)) == len(held) + len(left_out) == 6
    assert held


async def test_one_at_a_time_and_one_an_hour(make: Make) -> None:
    bot = await make()
    await bot.delivered((await bot.ask()).id)
    bot.dispatch.detach("chat")
    await exports.request_export(bot.ctx, bot.actor(), ref())
    with pytest.raises(BadInput) as running:
        await exports.request_export(bot.ctx, bot.actor(), ref("2"))
    assert running.value.key == "refusal.export.running"
    await bot.dispatch.attach("chat", bot.surface)
    await bot.until(lambda: sent(bot))
    with pytest.raises(OverQuota) as soon:
        await exports.request_export(bot.ctx, bot.actor(), ref("3"))
    assert soon.value.key == "refusal.export.soon"
    assert 0 < float(soon.value.params["wait"]) <= 3600
    bot.clock.advance(3601)
    await exports.request_export(bot.ctx, bot.actor(), ref("4"))
    await bot.until(lambda: len(sent(bot)) == 2)
    with pytest.raises(NotFound):
        await exports.request_export(bot.ctx, bot.actor("nobody"), ref("5"))


async def test_a_link_works_once_and_for_a_day(make: Make) -> None:
    bot = await make()
    ctx = linked(bot)
    await bot.delivered((await bot.ask()).id)
    link = await exports.request_export(ctx, bot.actor(), EventRef("e"))
    assert link is not None
    assert link.startswith(f"{LINK}exports/")
    token = link.rpartition("/")[2]
    await bot.until(lambda: export_files(bot) == ["1-1.zip"])
    assert token not in (bot.folder / "easel.db").read_bytes().decode("latin-1")

    async def ready() -> bool:
        try:
            file = await exports.fetch_export(ctx, token)
        except Unavailable:
            return False
        assert "person.json" in unpacked(file.path.read_bytes())
        return True

    await bot.until(ready)
    for wrong in (token, "x" * 22, ""):
        with pytest.raises(NotFound) as refused:
            await exports.fetch_export(ctx, wrong)
        assert refused.value.key == "refusal.export.link"
    bot.clock.advance(3601)
    second = await exports.request_export(ctx, bot.actor(), EventRef("f"))
    assert second is not None
    await bot.until(lambda: "2-1.zip" in export_files(bot))
    bot.clock.advance(86401)
    with pytest.raises(NotFound):
        await exports.fetch_export(ctx, second.rpartition("/")[2])

    def swept() -> bool:
        # The worker may have been at work when the day passed, and sleeps for another hour then.
        bot.clock.advance(3600)
        return export_files(bot) == []

    await bot.until(swept)


async def test_a_link_that_is_opened_early_is_not_used_up(make: Make) -> None:
    bot = await make()
    await bot.delivered((await bot.ask()).id)
    await bot.dispatch.stop()
    link = await exports.request_export(linked(bot), bot.actor(), EventRef("e"))
    assert link is not None
    with pytest.raises(Unavailable) as early:
        await exports.fetch_export(linked(bot), link.rpartition("/")[2])
    assert early.value.key == "refusal.export.not_ready"
    await bot.dispatch.start()


async def test_without_a_chat_and_without_an_address_there_is_no_way(make: Make) -> None:
    bot = await make()
    await bot.delivered((await bot.ask()).id)
    with pytest.raises(Unavailable) as refused:
        await exports.request_export(bot.ctx, bot.actor(), EventRef("e"))
    assert refused.value.key == "refusal.export.nowhere"


async def test_killed_while_it_is_made(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bot = await make()
    await two_people(bot)
    hang = Hang()
    with monkeypatch.context() as patched:
        patched.setattr("bot.privacy.exports.ZipParts.add_file", hang)
        # As after a kill: what was begun stays where it is.
        patched.setattr("bot.privacy.exports.ZipParts.discard", lambda _: asyncio.sleep(0))
        await exports.request_export(bot.ctx, bot.actor(), ref())
        await hang.reached.wait()
        (bot.folder / "exports" / "1-2.zip.part").touch()
        (bot.folder / "exports" / "77-1.zip").touch()
        assert "1-1.zip.part" in export_files(bot)
        await bot.kill()
    await bot.start()
    await bot.until(lambda: sent(bot))
    assert export_files(bot) == ["1-1.zip"]
    assert len([name for name in unpacked(*sent(bot)) if name.startswith("pictures/")]) == 5


async def test_forgetting_takes_exports_with_it(make: Make) -> None:
    bot = await make()
    await bot.delivered((await bot.ask()).id)
    link = await exports.request_export(linked(bot), bot.actor(), EventRef("e"))
    await bot.until(lambda: export_files(bot) == ["1-1.zip"])
    await forget(bot.ctx, bot.actor())
    assert export_files(bot) == []
    assert link is not None
    with pytest.raises(NotFound):
        await exports.fetch_export(linked(bot), link.rpartition("/")[2])


async def test_what_can_not_be_made_is_said_and_may_be_asked_for_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = await make()
    await bot.delivered((await bot.ask()).id)
    with monkeypatch.context() as patched:
        patched.setattr("bot.storage.data_files.MIN_FREE_BYTES", 2**62)
        await exports.request_export(bot.ctx, bot.actor(), ref())
        await bot.until(lambda: [s for s in bot.chats.messages.values() if s.chat == "@1"])
    (seen,) = [s for s in bot.chats.messages.values() if s.chat == "@1"]
    assert seen.card is not None
    assert "disk" in seen.card.status
    assert export_files(bot) == []
    await exports.request_export(bot.ctx, bot.actor(), ref("again"))
    await bot.until(lambda: sent(bot))


@pytest.mark.parametrize("days", [2, 400])
async def test_exports_after_the_clock_was_set_back(make: Make, days: int) -> None:
    bot = await make()
    await bot.delivered((await bot.ask()).id)
    link = await exports.request_export(linked(bot), bot.actor(), ref("1"))
    assert link is not None

    async def ready() -> bool:
        async with bot.db.read() as tx:
            last = await export_rows.latest(tx, 1)
        return last is not None and last.ready

    await bot.until(ready)
    bot.clock.jump(-days * 86400)
    with pytest.raises(NotFound):
        await exports.fetch_export(linked(bot), link.rsplit("/", 1)[1])
    await exports.request_export(linked(bot), bot.actor(), ref("2"))
    with pytest.raises((BadInput, OverQuota)):
        await exports.request_export(linked(bot), bot.actor(), ref("3"))
