"""Hot queries go by an index: none of them reads a whole table, however many jobs there were."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from bot.access.store import codes as code_rows
from bot.access.store import newcomers as access_rows
from bot.access.store.codes import CodeKind
from bot.accounts.store import credentials as credential_rows
from bot.accounts.store import linking as account_rows
from bot.accounts.store import sign_in as sign_in_rows
from bot.audit import store as audit_rows
from bot.core.access import AccessDecision, Newcomer, SubjectKind
from bot.core.jobs import JobState
from bot.core.people import Actor, Place
from bot.core.quotas import Scope, Unit
from bot.history import store as history_rows
from bot.history.queries import parse_query
from bot.moderation import store as moderation_rows
from bot.owner import store as owner_rows
from bot.privacy.store import deletion, deletions, exports
from bot.privacy.store import deletion as retention_rows
from bot.quotas.rules.limits import Measure, UsageKey
from bot.quotas.store import ledger
from bot.quotas.store import ledger as credits_
from bot.quotas.store import rules as rule_rows
from bot.storage import jobs, messages, people, pictures, queue_moves
from bot.storage import people as owners
from bot.storage.database import Database, Tx
from tests.fakes.job_rows import add_job

ASKER = UsageKey(1, 1, "c")
MEASURES = (
    Measure(0.0, Unit.PICTURES, in_place=False, in_channel=False, by_owner=True),
    Measure(0.0, Unit.POINTS, in_place=True, in_channel=True, by_owner=False),
)

PERSON = Newcomer(1, "chat", SubjectKind.PERSON, "1", "", AccessDecision.ASKED, 1.0)
PLACE = Newcomer(2, "chat", SubjectKind.PLACE, "g", "", AccessDecision.ASKED, 1.0)


async def _search(tx: Tx, query: str, kind: str = "") -> object:
    person = await people.remember(tx, Actor("web", "1"), now=1.0)
    await add_job(tx, reserve=False)
    return await history_rows.find_jobs(tx, person.id, parse_query(query), limit=9, before=7, kind=kind)


async def _join(tx: Tx) -> int:
    ids = [(await people.remember(tx, Actor(platform, "1"), now=1.0)).id for platform in ("web", "chat")]
    return await account_rows.merge_people(tx, ids[0], ids[1])


async def _part(tx: Tx) -> int:
    await _join(tx)
    person = await people.find(tx, "chat", "1")
    assert person is not None
    return await account_rows.split_account(tx, person.account_id, now=1.0)


async def _undoable(tx: Tx) -> object:
    job_id = await add_job(tx, reserve=False)
    deletion = await deletions.add(tx, "web:1:key", "token", 1.0, [job_id])
    assert await deletions.jobs_of(tx, deletion, limit=9)
    await deletions.release(tx, [job_id])
    await deletions.remove(tx, deletion)
    return deletion


async def _parents(tx: Tx) -> object:
    job_id = await add_job(tx, reserve=False)
    return await pictures.own_among(tx, 1, [(job_id, 0), (999, 1)])


async def _used(tx: Tx) -> None:
    await sign_in_rows.touch_session(tx, 1, 1.0)
    await credential_rows.touch_key(tx, 1, 1.0)


PAGES: dict[str, Callable[[Tx], Awaitable[object]]] = {
    "a page of the feed": lambda tx: jobs.of_person(tx, 1, limit=25, before=7),
    "a page of one kind": lambda tx: jobs.of_person(tx, 1, limit=25, before=7, kind="vary"),
    "a page of starred ones": lambda tx: history_rows.own_starred(tx, 1, limit=25, before=7),
    "a page of starred ones of one kind": lambda tx: history_rows.own_starred(tx, 1, limit=25, before=7, kind="vary"),
}
"""Pages of the feed: SQLite reads them in order, so that a page takes the same time however many jobs there are."""

HOT: dict[str, Callable[[Tx], Awaitable[object]]] = {
    "job": lambda tx: jobs.get(tx, 1),
    "job of an event": lambda tx: jobs.by_event(tx, "e"),
    "queued jobs": lambda tx: jobs.in_state(tx, JobState.QUEUED),
    "ids of queued jobs": jobs.waiting_ids,
    "painted jobs": lambda tx: jobs.in_state(tx, JobState.PAINTED),
    "last jobs": lambda tx: jobs.of_person(tx, 1, limit=9),
    "last jobs with pictures": lambda tx: jobs.of_person(tx, 1, limit=9, before=7, pictured=True),
    "files to start from": jobs.source_files,
    "another id for a place": lambda tx: people.move_place(tx, "telegram", "1", "2"),
    "move": lambda tx: jobs.move(tx, 1, JobState.QUEUED, JobState.RUNNING, now=1.0),
    "account": lambda tx: people.find(tx, "web", "1"),
    "place": lambda tx: people.find_place(tx, Place("web", "g", "c")),
    "remember": lambda tx: people.remember(tx, Actor("web", "1", "Ada", handle="ada"), now=1.0),
    "account of a handle": lambda tx: people.find_by_handle(tx, "telegram", "ada"),
    "options of a place": lambda tx: people.read_options(tx, 1),
    "changes of a place": lambda tx: audit_rows.of_place(tx, "discord", "g"),
    "a change": lambda tx: audit_rows.get(tx, 1),
    "was it undone": lambda tx: audit_rows.undone(tx, 1),
    "pictures": lambda tx: pictures.of_job(tx, 1),
    "messages of jobs": lambda tx: messages.of_jobs(tx, [1, 2]),
    "whether a job is delivered": lambda tx: jobs.deliver(tx, 1),
    "pictures of jobs": lambda tx: pictures.of_jobs(tx, [1, 2]),
    "used": lambda tx: ledger.sum_used(tx, ASKER, MEASURES, now=1.0),
    "oldest use": lambda tx: ledger.oldest_use(tx, ASKER, MEASURES[1], now=1.0),
    "waiting jobs of somebody": lambda tx: ledger.count_waiting(tx, ASKER, exclude=1),
    "settle": lambda tx: ledger.settle(tx, 1, painted=0, now=1.0),
    "rules": lambda tx: rule_rows.rules_of_place(tx, "discord", "g"),
    "rules for somebody": lambda tx: rule_rows.rules_of_person(tx, Actor("discord", "1", roles=("r", "s")), "g", 1),
    "credits": lambda tx: credits_.available_credits(tx, ASKER, now=1.0),
    "borrowed and due": lambda tx: ledger.other_uses(tx, ASKER, since=0.0, now=1.0),
    "give back": lambda tx: credits_.return_credits(tx, 1, 1, by_owner=True, now=1.0),
    "grant of an event": lambda tx: credits_.grant_of_event(tx, "e"),
    "one rule": lambda tx: rule_rows.get_rule(tx, Scope(), by_owner=True),
    "newcomer": lambda tx: access_rows.find_newcomer(tx, "chat", SubjectKind.PERSON, "1"),
    "newcomers who wait": lambda tx: access_rows.open_requests(tx, ("chat",)),
    "newcomers to tell of": lambda tx: access_rows.open_requests(tx, ("chat", "web"), untold=True),
    "how many newcomers": lambda tx: access_rows.count_open(tx, ("chat", "web")),
    "asked here since": lambda tx: access_rows.has_asked(tx, 1, None, since=1.0),
    "held for a person": lambda tx: access_rows.held_jobs(tx, PERSON),
    "held for a place": lambda tx: access_rows.held_jobs(tx, PLACE),
    "a code": lambda tx: code_rows.redeem_code(tx, CodeKind.CLAIM, "A", 1.0),
    "an owner's language": lambda tx: owners.owner_locale(tx, "chat", "1"),
    "messages of a job": lambda tx: messages.of_job(tx, 1),
    "wanted messages": messages.wanted,
    "begun messages": messages.sending,
    "reports": lambda tx: moderation_rows.recent_reports(tx, limit=9),
    "a report": lambda tx: moderation_rows.get_report(tx, 1),
    "an answer to reports": lambda tx: moderation_rows.answer_reports(
        tx, 1, None, moderation_rows.ReportAnswer.HIDDEN, by="o"
    ),
    "how many reports": moderation_rows.count_reports,
    "moves of waiting jobs": queue_moves.of_waiting,
    "queued jobs for an owner": lambda tx: owner_rows.jobs_in(tx, JobState.QUEUED, limit=9),
    "some jobs for an owner": lambda tx: owner_rows.jobs_of(tx, [1, 2]),
    "how many are held": lambda tx: owner_rows.count_in(tx, JobState.HELD),
    "accounts of a person for an owner": lambda tx: owner_rows.accounts_of(tx, 1, now=1.0),
    "bans of a person": lambda tx: owner_rows.bans_of(tx, 1, now=1.0),
    "what a person has": lambda tx: owner_rows.totals_of(tx, 1),
    "a page of changes": lambda tx: audit_rows.recent(tx, 9, 100),
    "a ban": lambda tx: moderation_rows.active_ban(tx, 1, 2, now=1.0),
    "bans of a place": lambda tx: moderation_rows.bans_of_place(tx, 2, now=1.0),
    "what a ban stops": lambda tx: moderation_rows.waiting_jobs(tx, "chat", "1", 2),
    "strikes": lambda tx: moderation_rows.get_strikes(tx, 1),
    "how strict": lambda tx: moderation_rows.strictness_of_job(tx, 1),
    "where a place's log is": lambda tx: moderation_rows.log_channel_of(tx, 1),
    "shown in this chat": lambda tx: messages.was_shown_in(tx, 1, "web", "c"),
    "old pictures": lambda tx: retention_rows.old_pictures(tx, before=9.0, after=(1.0, 1), limit=9),
    "old pictures' rows": lambda tx: retention_rows.delete_pictures(tx, "pictures", [1, 2]),
    "exports that are wanted": exports.pending,
    "last export": lambda tx: exports.latest(tx, 1),
    "a link": lambda tx: exports.by_digest(tx, "d"),
    "jobs of an export": lambda tx: exports.batch(tx, 1, "pictures", after=0, limit=9),
    "what forgetting takes": lambda tx: deletion.losses(tx, 1),
    "jobs to stop": lambda tx: deletion.open_jobs(tx, 1),
    "forgotten jobs that are shown": messages.unwanted_jobs,
    "whether a job is shown": lambda tx: messages.has_unwanted(tx, 1),
    "search": lambda tx: _search(tx, "cat 山水 seed:7 model:demo after:1970 before:2030"),
    "search for anything since a day": lambda tx: _search(tx, "after:1970"),
    "favourites": lambda tx: history_rows.favourites_page(
        tx, 1, parse_query("is:favourite after:1970"), limit=9, before=7
    ),
    "kept of jobs": lambda tx: history_rows.favourites_among(tx, 1, [1, 2]),
    "what is theirs and kept": lambda tx: history_rows.own_favourites(tx, [1, 2]),
    "jobs by their ids": lambda tx: jobs.of_ids(tx, [1, 2]),
    "the next to be indexed": lambda tx: jobs.with_pictures(tx, up_to=9, limit=9),
    "a search of before": lambda tx: history_rows.get_search(tx, 1, 1),
    "wrong codes": lambda tx: code_rows.attempts_left(tx, 1, 1.0),
    **PAGES,
    "a search of one kind": lambda tx: _search(tx, "cat", kind="vary"),
    "people of jobs": lambda tx: jobs.owners_of(tx, [1, 2]),
    "platforms of a person": lambda tx: people.platforms_of(tx, 1),
    "pictures that jobs were made from": _parents,
    "a picture of a thumbnail": lambda tx: pictures.find_own(tx, "web", "1", "0" * 32),
    "the next deletion": deletions.next_due,
    "the deletion of a request": lambda tx: deletions.by_event(tx, "web:1:key"),
    "the deletion of a token": lambda tx: deletions.by_token(tx, "token"),
    "a deletion": _undoable,
    "a session": lambda tx: sign_in_rows.get_session(tx, "d"),
    "a session that is used": _used,
    "sessions of a person": lambda tx: sign_in_rows.sessions_of(tx, 1, used_since=1.0, created_since=1.0),
    "a link to sign in": lambda tx: sign_in_rows.get_link(tx, "d", 1.0),
    "the account of an API key": lambda tx: credential_rows.key_account(tx, "d"),
    "API keys of a person": lambda tx: credential_rows.keys_of(tx, 1),
    "a password": lambda tx: credential_rows.get_password(tx, "ada"),
    "a passkey": lambda tx: credential_rows.get_passkey(tx, "c"),
    "passkeys of a person": lambda tx: credential_rows.passkeys_of(tx, 1),
    "a ban everywhere": lambda tx: moderation_rows.active_ban_of_account(tx, "web", "1", 0, now=1.0),
    "joining two people": _join,
    "parting an account": _part,
}


@pytest.mark.parametrize("name", HOT)
async def test_no_hot_query_scans_a_table(db: Database, name: str) -> None:
    seen: list[str] = []
    async with db.write() as tx:
        await tx.set_trace_callback(seen.append)
        await HOT[name](tx)
        await tx.set_trace_callback(None)  # type: ignore[arg-type]  # sqlite3 takes None to stop
        statements = [sql for sql in seen if sql.lstrip()[:6] in {"SELECT", "UPDATE"}]
        assert statements
        for sql in statements:
            plan = [row[3] for row in await tx.execute_fetchall(f"EXPLAIN QUERY PLAN {sql}")]
            # A partial index holds what is open (or starts from a picture, or refers to some) alone: to walk it is as good
            # as a search. So is what the full-text index gives for words (M), and a list that the caller gives.
            small = (
                "_open",
                "jobs_started",
                "jobs_references",
                "VIRTUAL TABLE INDEX 192:M",
                "found_config",
                "deletions_due",
                "json_each VIRTUAL TABLE",
            )
            walks = [s for s in plan if s.startswith("SCAN") and not any(part in s for part in small)]
            assert not walks, f"{sql}: {plan}"


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_of_the_feed_is_read_in_order(db: Database, name: str) -> None:
    seen: list[str] = []
    async with db.write() as tx:
        await tx.set_trace_callback(seen.append)
        await PAGES[name](tx)
        await tx.set_trace_callback(None)  # type: ignore[arg-type]  # sqlite3 takes None to stop
        (sql,) = [sql for sql in seen if sql.startswith("SELECT")]
        plan = [row[3] for row in await tx.execute_fetchall(f"EXPLAIN QUERY PLAN {sql}")]
    assert plan[0].startswith("SEARCH")
    assert not [step for step in plan if "TEMP B-TREE" in step], plan
