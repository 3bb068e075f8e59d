"""Codes that are typed once: ten minutes, five tries, and only their digests are kept."""

from __future__ import annotations

import pytest

from bot.access.store import codes as code_rows
from bot.access.store.codes import CLAIM_TRIES, CODE_SECONDS, CODE_TRIES, CodeKind, RedeemedCode
from bot.storage.database import Database


async def _create(db: Database, kind: CodeKind = CodeKind.CLAIM, account: int | None = None, now: float = 0.0) -> str:
    async with db.write() as tx:
        return await code_rows.create_code(tx, kind, account, now)


async def _redeem(db: Database, typed: str, kind: CodeKind = CodeKind.CLAIM, now: float = 1.0) -> RedeemedCode:
    async with db.write() as tx:
        return await code_rows.redeem_code(tx, kind, typed, now)


async def _accounts(db: Database, n: int) -> None:
    async with db.write() as tx:
        for i in range(1, n + 1):
            await tx.execute_fetchall("INSERT INTO people (id, name, created_at) VALUES (?, '', 0)", (i,))
            await tx.execute_fetchall(
                "INSERT INTO accounts (id, person_id, platform, user_id, name, created_at) VALUES (?, ?, 'a', ?, '', 0)",
                (i, i, str(i)),
            )


@pytest.mark.parametrize(
    "as_typed", [str, str.lower, lambda c: f" {c.replace('-', ' ')} ", lambda c: c.replace("-", "")]
)
async def test_a_code_is_used_once_however_it_is_typed(db: Database, as_typed: object) -> None:
    assert callable(as_typed)
    code = await _create(db)
    assert (await _redeem(db, as_typed(code))).found
    assert await _redeem(db, code) == RedeemedCode(found=False)


async def test_a_code_ends_after_ten_minutes(db: Database) -> None:
    code = await _create(db)
    assert await _redeem(db, code, now=CODE_SECONDS) == RedeemedCode(found=False)
    assert (await _redeem(db, code, now=CODE_SECONDS - 0.1)).found


async def test_the_fifth_wrong_try_ends_a_link(db: Database) -> None:
    await _accounts(db, 1)
    code = await _create(db, CodeKind.LINK, 1)
    left = [(await _redeem(db, code[:3] + "2-2222", CodeKind.LINK)).tries_left for _ in range(CODE_TRIES)]
    assert left == [4, 3, 2, 1, 0]
    assert not (await _redeem(db, code, CodeKind.LINK)).found


async def test_no_number_of_wrong_tries_ends_a_claim(db: Database) -> None:
    code = await _create(db)
    for n in range(CLAIM_TRIES + 10):
        async with db.read() as tx:
            assert await code_rows.is_guessed_often(tx, 1.0) is (n >= CLAIM_TRIES)
        assert (await _redeem(db, "WRONG-ONE")).live
    assert (await _redeem(db, code)).found


async def test_a_new_claim_code_ends_the_one_before(db: Database) -> None:
    first, second = await _create(db), await _create(db)
    assert await _redeem(db, first) == RedeemedCode(found=False, tries_left=CLAIM_TRIES - 1, live=True)
    assert (await _redeem(db, second)).found


async def test_a_link_code_says_whose_it_is_and_is_no_claim(db: Database) -> None:
    await _accounts(db, 2)
    first, second = await _create(db, CodeKind.LINK, 1), await _create(db, CodeKind.LINK, 2)
    assert not (await _redeem(db, first)).found
    assert await _redeem(db, second, CodeKind.LINK) == RedeemedCode(found=True, account_id=2)
    assert await _redeem(db, first, CodeKind.LINK) == RedeemedCode(found=True, account_id=1)


async def test_guesses_wear_out_only_the_code_that_they_begin_like(db: Database) -> None:
    await _accounts(db, 2)
    first, second = await _create(db, CodeKind.LINK, 1), await _create(db, CodeKind.LINK, 2)
    while second[:3] == first[:3]:
        second = await _create(db, CodeKind.LINK, 2)
    for _ in range(CODE_TRIES):
        await _redeem(db, first[:3] + "2-2222", CodeKind.LINK)
    assert not (await _redeem(db, first, CodeKind.LINK)).found
    assert (await _redeem(db, second, CodeKind.LINK)).found


async def test_a_thousand_codes_leave_one_row_and_no_text(db: Database) -> None:
    await _accounts(db, 1)
    for _ in range(50):
        code = await _create(db, CodeKind.LINK, 1)
    async with db.read() as tx:
        rows = list(await tx.execute_fetchall("SELECT digest FROM codes"))
    assert len(rows) == 1
    assert code.replace("-", "") not in rows[0][0]


async def test_a_code_does_not_live_longer_because_the_clock_was_set_back(db: Database) -> None:
    code = await _create(db, now=400 * 86400.0)
    assert not (await _redeem(db, code, now=1.0)).found
    assert (await _redeem(db, await _create(db, now=1.0), now=CODE_SECONDS)).found
