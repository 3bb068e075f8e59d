"""Whom a request acts as: this machine's owner, a session, an API key or the page's token."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from adapters.cli import main
from adapters.web import access
from bot.core.sign_in import PAGE_OWNER
from bot.moderation.store import EVERYWHERE, Ban, put_ban
from bot.storage.people import remember
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import ADA, BOB, TOKEN, WebHarness, error_of, settings_of


async def test_each_sees_their_own_history_alone(club: WebHarness) -> None:
    asks: dict[str, dict[str, str]] = {
        "owner": {"Authorization": f"Bearer {TOKEN}"},
        "ada": await club.signed_in(),
        "bob": await club.signed_in(BOB),
        "key": await club.key_for(),
    }
    jobs = {}
    for who, headers in asks.items():
        # The same idempotency key, by four people.
        body = {"key": "00000000-same", "prompt": "a cat"}
        status, answer = await club.post("/api/draw", body, headers=headers)
        assert status == 201, answer
        jobs[who] = answer["card"]["job_id"]
    assert len(set(jobs.values())) == 4
    for who, headers in asks.items():
        _, answer = await club.get("/api/history", headers=headers)
        assert [card["job_id"] for card in answer["cards"]] == [jobs[who]]
        for other, job in jobs.items():
            status, _ = await club.get(f"/api/jobs/{job}", headers=headers)
            assert status == (200 if other == who else 404)
            status, _ = await club.get(f"/pictures/{job}/0.png", headers=headers) if other != who else (404, {})
            assert status == 404


async def test_http_basic_takes_a_key_as_the_password_of_any_user(club: WebHarness) -> None:
    key = (await club.key_for())["Authorization"].removeprefix("Bearer ")
    for user in ("", "easel", "a:b"):
        word = base64.b64encode(f"{user}:{key}".encode()).decode()
        expected = 200 if ":" not in user else 401
        assert (await club.get("/api/quota", headers={"Authorization": f"Basic {word}"}))[0] == expected
    for bad in ("Basic", "Basic !", f"Basic {base64.b64encode(key.encode()).decode()}", "Digest x"):
        assert (await club.get("/api/quota", headers={"Authorization": bad}))[0] == 401


async def test_a_revoked_key_is_refused_also_on_this_machine(club: WebHarness, app: WebHarness) -> None:
    for one in (club, app):
        headers = await one.key_for()
        assert (await one.get("/api/quota", headers=headers))[0] == 200
        await one.studio.accounts.keys.revoke(PAGE_OWNER, "bridge")
        status, answer = await one.get("/api/quota", headers=headers)
        assert (status, error_of(answer)[0]) == (401, "refusal.web.key")


async def test_on_this_machine_the_owner_needs_nothing_and_a_key_acts_as_itself(app: WebHarness) -> None:
    await app.drawn()
    key = await app.key_for()
    assert len((await app.get("/api/history"))[1]["cards"]) == 1
    # Clients that need some key to start are the owner's.
    assert len((await app.get("/api/history", headers={"Authorization": "Bearer sk-none"}))[1]["cards"]) == 1
    assert (await app.get("/api/history", headers=key))[1]["cards"] == []


async def test_a_proxy_s_own_sign_in_does_not_get_in_the_way(club: WebHarness) -> None:
    cookie = (await club.signed_in())["Cookie"]
    headers = {"Cookie": cookie, "Authorization": "Basic " + base64.b64encode(b"nginx:secret").decode()}
    assert (await club.get("/api/quota", headers=headers))[0] == 200


async def test_a_browser_s_request_says_where_it_comes_from(club: WebHarness) -> None:
    cookie = (await club.signed_in())["Cookie"]
    body = {"key": club.key(), "prompt": "a cat"}
    for bad in ({}, {"Origin": "https://evil.com"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        status, answer = await club.post("/api/draw", body, headers={"Cookie": cookie, **bad})
        assert (status, error_of(answer)[0]) == (403, "refusal.web.origin")
    assert await club.count("jobs") == 0
    assert (await club.post("/api/draw", body, headers={"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}))[0] == 201
    assert club.refusals("origin") == 4


async def test_who_is_banned_is_refused_everywhere(club: WebHarness) -> None:
    headers = await club.signed_in()
    async with club.db.write() as tx:
        await put_ban(tx, Ban("chat", "1", EVERYWHERE, None, "noise", "operator", 0.0))
    for path in ("/", "/api/info", "/api/history", "/api/quota", "/pictures/1/0.png"):
        status, answer = await club.get(path, headers=headers)
        assert (status, error_of(answer)[0]) == (403, "refusal.banned.for_good_because"), path
    # The probes answer everybody.
    assert (await club.client.get("/healthz", headers=headers)).status == 200


async def test_wrong_secrets_are_counted_and_soon_refused(club: WebHarness) -> None:
    codes = []
    for number in range(access.FAILURES + 2):
        async with club.client.get(
            "/api/quota", headers={"Authorization": f"Bearer easel-{number}", "Accept": "application/json"}
        ) as response:
            codes.append(response.status)
            if response.status == 429:
                assert int(response.headers["Retry-After"]) > 0
    assert codes == [401] * access.FAILURES + [429] * 2
    # Also the right token, and the token in the page's address.
    assert (await club.get("/api/quota", headers={"Authorization": f"Bearer {TOKEN}"}))[0] == 429
    assert (await club.client.get(f"/?token={TOKEN}", allow_redirects=False)).status == 429
    # Who is signed in goes on.
    assert (await club.get("/api/quota", headers=await club.signed_in()))[0] == 200
    assert club.refusals("credentials") == access.FAILURES
    assert club.refusals("rate") == 4


async def test_one_person_s_requests_are_limited_and_no_other_s(club: WebHarness) -> None:
    headers, others = await club.signed_in(), await club.signed_in(BOB)
    # The limit refills meanwhile, so a slow machine gets some more through.
    codes = [0]
    while codes[-1] != 429 and len(codes) < 5 * access.WRITES:
        codes.append((await club.post("/api/press", {}, headers=headers))[0])
    assert codes[1 : access.WRITES + 1] == [400] * access.WRITES
    assert codes[-1] == 429
    assert (await club.get("/api/quota", headers=headers))[0] == 200
    assert (await club.post("/api/press", {}, headers=others))[0] == 400


async def test_a_stream_ends_with_its_session(club: WebHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "RECHECK_SECONDS", 0.01)
    club.gate.shut()
    headers = await club.signed_in()
    _, answer = await club.post("/api/draw", {"key": club.key(), "prompt": "a cat"}, headers=headers)
    job = answer["card"]["job_id"]
    async with club.client.get(f"/api/jobs/{job}/events", headers=headers) as response:
        assert response.status == 200
        await response.content.readline()
        async with club.db.write() as tx:
            account = (await remember(tx, ADA, now=0)).account_id
        await club.studio.accounts.sessions.end_all(account)
        async with asyncio.timeout(10):
            with pytest.raises(aiohttp.ClientError):
                await response.content.read()
    assert (await club.get("/api/quota", headers=headers))[0] == 401


async def test_the_command_line_s_keys_hold_at_once_beside_a_running_service(
    club: WebHarness, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(club.folder)
    monkeypatch.setenv("EASEL_DATA_DIR", str(club.folder))
    assert await asyncio.to_thread(main.run, ["key", "create", "--name", "bridge", "--quota", "3/day"]) == 0
    headers = {"Authorization": f"Bearer {capsys.readouterr().out.splitlines()[-1]}"}
    status, answer = await club.get("/api/quota", headers=headers)
    assert (status, "3" in str(answer["card"]["facts"])) == (200, True)
    assert await asyncio.to_thread(main.run, ["key", "revoke", "bridge"]) == 0
    assert (await club.get("/api/quota", headers=headers))[0] == 401


# ---- Attacks


PROXY = "127.0.0.1"


@pytest.fixture
async def behind(tmp_path: Path) -> AsyncIterator[WebHarness]:
    """A page behind a proxy on this machine that it trusts, under two names."""
    gate = StepGate()
    gate.open()
    settings = settings_of(trusted_proxies=PROXY, hosts="easel.example, studio.example")
    async with WebHarness(tmp_path, FakeEngine(pause=gate), gate, settings, TOKEN).opened() as one:
        yield one


def through(**headers: str) -> dict[str, str]:
    """What a proxy sends on for a browser somewhere."""
    return {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "easel.example",
        **headers,
    }


async def test_a_trusted_proxy_s_word_is_taken_for_address_scheme_and_name(behind: WebHarness) -> None:
    async with behind.client.post(
        "/signin",
        data={"token": TOKEN},
        headers=through(Origin="https://easel.example"),
        allow_redirects=False,
    ) as response:
        assert response.status == 303
        cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("__Host-easel_7860=")
    headers = through(Cookie=cookie.partition(";")[0])
    assert (await behind.get("/api/quota", headers=headers))[0] == 200
    # The other name is this page's too; a third one is not.
    headers["X-Forwarded-Host"] = "studio.example"
    assert (await behind.get("/api/quota", headers=headers))[0] == 200
    headers["X-Forwarded-Host"] = "evil.example"
    status, answer = await behind.get("/api/quota", headers=headers)
    assert (status, error_of(answer)[0]) == (403, "refusal.web.host")
    assert behind.refusals("host") == 1


async def test_nobody_becomes_this_machine_through_the_proxy(behind: WebHarness) -> None:
    for claim in (
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-For": "::1, 127.0.0.1"},
        {"X-Forwarded-For": "127.0.0.1, 203.0.113.9", "X-Forwarded-Host": "localhost"},
        {"X-Forwarded-Host": "localhost"},
        {"Forwarded": "for=127.0.0.1"},
        {},
    ):
        for path in ("/", "/api/quota", "/metrics", "/owner"):
            headers = {**claim, "Host": "easel.example"}
            assert (await behind.client.get(path, headers=headers, allow_redirects=False)).status == 401, (claim, path)


async def test_guesses_through_a_proxy_are_counted_by_the_browser_s_address(behind: WebHarness) -> None:
    wrong = {"Authorization": "Bearer easel-wrong"}
    for number in range(access.FAILURES + 1):
        # What the client itself writes before does not make it another one.
        headers = through(**wrong, **{"X-Forwarded-For": f"198.51.100.{number}, 203.0.113.9"})
        status, _ = await behind.get("/api/quota", headers=headers)
    assert status == 429
    other = through(**wrong, **{"X-Forwarded-For": "203.0.113.10"})
    assert (await behind.get("/api/quota", headers=other))[0] == 401


@pytest.mark.parametrize(
    "host", ["evil.com", "localhost.evil.com", "easel.example.evil.com", "easel.example@evil.com", ""]
)
async def test_a_rebound_name_signs_nobody_in(club: WebHarness, host: str) -> None:
    for headers in (await club.signed_in(), await club.key_for(f"key {host}"), {"Authorization": f"Bearer {TOKEN}"}):
        status, answer = await club.get("/api/quota", headers={**headers, "Host": host})
        assert (status, error_of(answer)[0]) == (403, "refusal.web.host")
    assert club.refusals("host") == 3


@pytest.mark.parametrize(
    "path",
    [
        "/static/../settings.py",
        "/static/..%2f..%2fsettings.py",
        "/static/%2e%2e/access.py",
        "/static/....//access.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/account.html%00.js",
        "/pictures/..%2f..%2feasel.db/0.png",
        "/thumbs/..%2f..%2feasel-320.webp",
        "/v1/images/files/..%2f..%2feasel.db",
    ],
)
async def test_no_path_leads_out_of_the_page_s_files(app: WebHarness, path: str) -> None:
    status, answer = await app.raw(f"GET {path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n")
    assert status in {400, 403, 404}
    assert "root:" not in answer
    assert "class " not in answer
    assert "SQLite" not in answer
