"""The index of the history on a real database: what is found, by whom, in which order, and what is found no more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.core.jobs import Job, JobState
from bot.core.people import Actor
from bot.core.requests import DrawRequest
from bot.history import store as history_rows
from bot.history.queries import parse_query
from bot.storage import jobs, people, pictures
from bot.storage.database import Database, Tx
from tests.fakes.job_rows import REQUEST, drawn_picture

PLAIN = replace(REQUEST, negative="", style="", notes=(), image="", mask="", variation=0.0, upscale=0.0, seed=7)


async def drawn(
    tx: Tx, typed: str, *, user: str = "1", now: float = 1000.0, indexed: bool = True, **request: object
) -> Job:
    """Store a job with its pictures."""
    person = await people.remember(tx, Actor("web", user, "Ada"), now=now)
    changes: dict[str, object] = {"typed": typed, "prompt": typed, **request}
    made: DrawRequest = replace(PLAIN, **changes)  # type: ignore[arg-type]  # fields by their names
    event = f"test:{next(iter(await tx.execute_fetchall('SELECT count(*) FROM jobs')))[0]}"
    new = jobs.NewJob(event, JobState.DELIVERED, person.id, person.account_id, None, made, "en", "Ada", now)
    job_id = (await jobs.add(tx, new)).id
    for index in range(made.count):
        await pictures.add(
            tx, drawn_picture(job_id, index, path=f"{job_id}-{index}.png", seed=made.seed + index), now=now
        )
    job = await jobs.get(tx, job_id)
    assert job is not None
    if indexed:
        await history_rows.index_job(tx, job)
    return job


@pytest.fixture
async def tx(db: Database) -> AsyncIterator[Tx]:
    async with db.write() as tx:
        yield tx


async def found(tx: Tx, query: str, *, user: str = "1", before: int | None = None, limit: int = 9) -> list[int]:
    person = await people.find(tx, "web", user)
    assert person is not None
    return list(await history_rows.find_jobs(tx, person.id, parse_query(query), limit=limit, before=before))


@pytest.mark.parametrize(
    ("typed", "query"),
    [
        ("A Red Apple", "apple red"),
        ("a red apple", "ＡＰＰＬＥ"),
        ("two cats, painted", "cat painting"),
        ("naïve café", "naive CAFÉ"),
        ("小猫咪在山水画里", "猫"),
        ("小猫咪在山水画里", "猫咪"),
        ("小猫咪在山水画里", "山水画"),
        ("小猫咪在山水画里", "猫咪 山水"),
        ("小猫咪在山水画里", "小猫咪在"),
        ("赛博朋克城市，霓虹灯", "霓虹"),
        ("cyberpunk 城市夜景", "CYBERPUNK 夜景"),
        ("東京タワー", "タワー"),
        ("🐱 on a mat", "🐱"),
        ("a cat", "demo"),
    ],
)
async def test_words_find(tx: Tx, typed: str, query: str) -> None:
    job = await drawn(tx, typed)
    await drawn(tx, "something else 别的", user="2")
    assert await found(tx, query) == [job.id]


@pytest.mark.parametrize(
    ("typed", "query"),
    [
        ("a red apple", "app"),
        ("a red apple", "red pear"),
        ("山有水", "山水"),
        ("水山", "山水"),
        ("a cat", "1"),
        ("a cat", "1_cat or"),
        ("a cat", '" OR "2_dog'),
        ("a cat", "NEAR(cat)"),
    ],
)
async def test_what_is_not_there_is_not_found_and_no_query_is_a_command(tx: Tx, typed: str, query: str) -> None:
    await drawn(tx, typed)
    await drawn(tx, "a dog", user="2")
    assert await found(tx, query) == []


async def test_style_and_negative_and_the_whole_prompt_count(tx: Tx) -> None:
    job = await drawn(tx, "a cat", prompt="a cat, ink wash", negative="blurry", style="ink")
    for word in ("wash", "blurry", "ink"):
        assert await found(tx, word) == [job.id]


async def test_filters(tx: Tx) -> None:
    day = 86400.0
    old = await drawn(tx, "a cat", now=20000 * day, seed=41, count=2, model="sd15", width=512, height=768)
    new = await drawn(tx, "a cat", now=20010 * day)
    assert await found(tx, "cat") == [new.id, old.id]
    for query in ("seed:42", "种子：41 cat", "model:sd15", "size:512x768", "before:2024-10-09", "before:2024-10-14"):
        assert await found(tx, query) == [old.id], query
    for query in ("seed:7 cat", "after:2024-10-05", "cat 之后:2024-10-14", "model:demo", "after:2024.10.5"):
        assert await found(tx, query) == [new.id], query
    for query in ("seed:43", "model:sd1", "size:768x512", "before:2024-10-04", "after:2024-10-15", "is:favourite"):
        assert await found(tx, query) == [], query


async def test_pages_go_on_before_the_last(tx: Tx) -> None:
    ids = [(await drawn(tx, f"cat {n}")).id for n in range(5)][::-1]
    assert await found(tx, "cat", limit=2) == ids[:2]
    assert await found(tx, "cat", limit=2, before=ids[1]) == ids[2:4]
    assert await found(tx, "cat", limit=2, before=ids[4]) == []


async def test_a_favourite_is_found_as_one_until_it_is_let_go(tx: Tx) -> None:
    job = await drawn(tx, "a cat")
    mine = await pictures.of_job(tx, job.id)
    await history_rows.add_favourite(tx, job.person_id, mine[:1], now=1.0)
    await history_rows.index_job(tx, job)
    assert await found(tx, "cat is:favourite") == [job.id]
    await history_rows.remove_favourite(tx, job.person_id, mine)
    await history_rows.index_job(tx, job)
    assert await found(tx, "★ cat") == []


async def test_a_job_that_was_indexed_before_its_end_is_found_once(tx: Tx) -> None:
    job = await drawn(tx, "a cat")
    await history_rows.add_job(tx, job)
    assert await found(tx, "cat") == [job.id]
    assert [tuple(row) for row in await tx.execute_fetchall("SELECT count(*) FROM found")] == [(1,)]


async def test_favourites_may_be_others(tx: Tx) -> None:
    theirs = await drawn(tx, "a cat", user="2", now=5.0)
    mine = await drawn(tx, "a dog", now=9.0)
    for job in (theirs, mine):
        await history_rows.add_favourite(tx, mine.person_id, await pictures.of_job(tx, job.id), now=1.0)
    page = await history_rows.favourites_page(tx, mine.person_id, parse_query("★"), limit=9)
    assert page == (mine.id, theirs.id)
    assert await history_rows.favourites_page(tx, mine.person_id, parse_query("★"), limit=9, before=mine.id) == (
        theirs.id,
    )
    assert await history_rows.favourites_page(tx, mine.person_id, parse_query("★ after:1970"), limit=1) == (mine.id,)
    assert await history_rows.favourites_page(tx, theirs.person_id, parse_query("★"), limit=9) == ()


async def test_a_job_without_pictures_is_found_no_more_and_its_favourites_are_gone(tx: Tx) -> None:
    job = await drawn(tx, "a secret cat")
    await history_rows.add_favourite(tx, job.person_id, await pictures.of_job(tx, job.id), now=1.0)
    await tx.execute_fetchall('DELETE FROM pictures WHERE job_id = ? AND "index" = 0', (job.id,))
    assert await found(tx, "cat") == [job.id]
    await tx.execute_fetchall("DELETE FROM pictures WHERE job_id = ?", (job.id,))
    assert await found(tx, "cat") == []
    assert not await history_rows.favourites_among(tx, job.person_id, [job.id])


async def test_what_was_removed_leaves_the_pages_of_the_index(db: Database) -> None:
    async def secret(tx: Tx) -> bool:
        rows = await tx.execute_fetchall("SELECT block FROM found_data")
        return any(b"secret" in row[0] for row in rows)

    async with db.write() as tx:
        job = await drawn(tx, "a secret cat")
    for number in range(40):
        async with db.write() as tx:
            await drawn(tx, f"a cat with number {number}")
    async with db.write() as tx:
        await tx.execute_fetchall("DELETE FROM pictures WHERE job_id = ?", (job.id,))
        assert await secret(tx)
    more = True
    while more:
        async with db.write() as tx:
            more = await history_rows.merge_batch(tx)
    async with db.read() as tx:
        assert not await secret(tx)
        assert len(await found(tx, "cat", limit=99)) == 40
        assert not await history_rows.has_unindexed(tx)


async def test_what_was_drawn_before_the_index_is_indexed_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_rows, "BATCH", 3)
    async with await Database.open(tmp_path / "old.db") as db:
        async with db.write() as tx:
            ids = [(await drawn(tx, f"cat {n}", indexed=False)).id for n in range(7)]
            await tx.execute_fetchall("DELETE FROM pictures WHERE job_id = ?", (ids.pop(2),))
            await tx.execute_fetchall('UPDATE indexing SET "left" = ?, stale = 0', (ids[-1],))
        seen = []
        more = True
        while more:
            async with db.write() as tx:
                more = await history_rows.index_batch(tx)
                seen.append(await found(tx, "cat"))
        assert seen == [ids[:-4:-1], ids[::-1]]
        async with db.read() as tx:
            assert not await history_rows.has_unindexed(tx)


async def test_searches_keep_their_number_and_the_oldest_make_room(tx: Tx) -> None:
    person = await people.remember(tx, Actor("web", "1"), now=1.0)
    numbers = [
        await history_rows.add_search(tx, person.account_id, f"q{n}", now=float(n))
        for n in range(history_rows.MAX_SEARCHES + 2)
    ]
    assert numbers == list(range(1, history_rows.MAX_SEARCHES + 3))
    assert await history_rows.get_search(tx, person.account_id, 1) is None
    assert await history_rows.get_search(tx, person.account_id, 3) == "q2"
    assert await history_rows.add_search(tx, person.account_id, "q2", now=999.0) == 3
    await history_rows.add_search(tx, person.account_id, "new", now=1000.0)
    assert await history_rows.get_search(tx, person.account_id, 3) == "q2"


async def test_search_numbers_never_grow_beyond_a_button(tx: Tx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_rows, "MAX_SEARCH_NUMBER", 60)
    person = await people.remember(tx, Actor("web", "1"), now=1.0)
    numbers = [await history_rows.add_search(tx, person.account_id, f"q{n}", now=float(n)) for n in range(150)]
    assert max(numbers) == 60
    assert await history_rows.get_search(tx, person.account_id, numbers[-1]) == "q149"
