"""The table of access: every route by every kind of asker, cell by cell, with real requests.

A new route needs a line in ``EXPECTED``: its role is decided twice, here and where it is added.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiohttp import web

from adapters.web import access
from adapters.web.routes import ROUTES, Handler, Role, Route, RouteTable
from bot.accounts.sessions import IDLE_SECONDS, LONGEST_SECONDS
from bot.core.people import Actor, Place
from bot.core.sign_in import PAGE_OWNER
from bot.moderation.store import EVERYWHERE, Ban, put_ban
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import ADA, BOB, TOKEN, WebHarness, settings_of

EXPECTED = {
    Role.ANYONE: """
        GET /api/v1/docs
        GET /api/v1/openapi.json
        GET /enter/{token}
        POST /enter/{token}
        GET /exports/{token}
        POST /exports/{token}
        GET /favicon.ico
        GET /healthz
        GET /invite/{token}
        POST /invite/{token}
        POST /invite/{token}/passkey
        POST /invite/{token}/passkey/options
        GET /provenance/root.pem
        GET /readyz
        GET /signin
        POST /signin
        POST /signin/passkey
        POST /signin/passkey/options
        POST /signout
        GET /static/{name}
        GET /v1/images/files/{name}
    """,
    Role.MEMBER: """
        GET /
        GET /account
        GET /api/account
        POST /api/account/files
        POST /api/account/keys
        POST /api/account/keys/revoke
        POST /api/account/link
        POST /api/account/passkeys
        POST /api/account/passkeys/options
        POST /api/account/passkeys/remove
        POST /api/account/password
        POST /api/account/sessions/end
        POST /api/account/sessions/end-all
        POST /api/delete
        POST /api/draw
        GET /api/events
        GET /api/feed
        GET /api/history
        GET /api/info
        POST /api/inspect
        GET /api/jobs/{job}
        GET /api/jobs/{job}/events
        GET /api/jobs/{job}/preview/{index}
        POST /api/parameters
        POST /api/press
        GET /api/quota
        POST /api/undo
        GET /api/unfinished
        GET /api/v1/engine
        GET /api/v1/events
        GET /api/v1/jobs
        POST /api/v1/jobs
        GET /api/v1/jobs/{job}
        DELETE /api/v1/jobs/{job}
        POST /api/v1/jobs/{job}/actions
        POST /api/v1/jobs/{job}/cancel
        GET /api/v1/jobs/{job}/events
        GET /api/v1/jobs/{job}/pictures/{index}
        GET /api/v1/loras
        GET /api/v1/models
        GET /api/v1/quota
        GET /api/v1/styles
        POST /api/zip
        GET /inspect
        GET /jobs/{job}/{source}.png
        POST /mcp
        GET /pictures/{job}/{index}.png
        GET /sdapi/v1/cmd-flags
        GET /sdapi/v1/embeddings
        GET /sdapi/v1/extensions
        GET /sdapi/v1/face-restorers
        GET /sdapi/v1/hypernetworks
        POST /sdapi/v1/img2img
        POST /sdapi/v1/interrupt
        GET /sdapi/v1/latent-upscale-modes
        GET /sdapi/v1/loras
        GET /sdapi/v1/memory
        GET /sdapi/v1/options
        POST /sdapi/v1/options
        POST /sdapi/v1/png-info
        GET /sdapi/v1/progress
        GET /sdapi/v1/prompt-styles
        GET /sdapi/v1/realesrgan-models
        POST /sdapi/v1/refresh-checkpoints
        POST /sdapi/v1/refresh-embeddings
        POST /sdapi/v1/refresh-loras
        POST /sdapi/v1/refresh-vae
        GET /sdapi/v1/samplers
        GET /sdapi/v1/schedulers
        GET /sdapi/v1/script-info
        GET /sdapi/v1/scripts
        GET /sdapi/v1/sd-models
        GET /sdapi/v1/sd-vae
        POST /sdapi/v1/skip
        POST /sdapi/v1/txt2img
        GET /sdapi/v1/upscalers
        GET /thumbs/{digest}-{side}.webp
        POST /v1/images/edits
        POST /v1/images/generations
        GET /v1/models
        GET /v1/models/{model}
    """,
    Role.ADMIN: """
        GET /api/place
        POST /api/place/state
    """,
    Role.OWNER: """
        GET /api/invitations
        POST /api/invitations
        POST /api/invitations/withdraw
        GET /api/keys
        POST /api/keys
        POST /api/keys/revoke
        GET /api/owner/audit
        POST /api/owner/audit/undo
        GET /api/owner/charts
        GET /api/owner/device
        GET /api/owner/disk
        POST /api/owner/disk/keep
        GET /api/owner/info
        GET /api/owner/models
        POST /api/owner/models/pull
        POST /api/owner/models/remove
        POST /api/owner/models/stop
        GET /api/owner/newcomers
        POST /api/owner/newcomers/answer
        GET /api/owner/overview
        GET /api/owner/people
        POST /api/owner/people/ban
        POST /api/owner/people/credits
        POST /api/owner/people/unban
        GET /api/owner/people/{person}
        GET /api/owner/queue
        POST /api/owner/queue/cancel
        POST /api/owner/queue/move
        POST /api/owner/queue/state
        GET /api/owner/quotas
        POST /api/owner/quotas/remove
        POST /api/owner/quotas/set
        GET /api/owner/quotas/why
        GET /api/owner/reports
        POST /api/owner/reports/answer
        POST /api/owner/reports/strictness
        GET /api/owner/reports/{number}/{index}.png
        GET /api/owner/settings
        GET /metrics
        GET /owner
    """,
}

TABLE = {tuple(line.split()): role for role, lines in EXPECTED.items() for line in lines.split("\n") if line.strip()}

VALUES = {
    "{digest}": "0" * 64,
    "{job}": "1",
    "{index}": "0",
    "{name}": "x.css",
    "{token}": "x",
    "{number}": "1",
    "{person}": "1",
    "{source}": "mask",
    "{side}": "320",
}
"""What stands for the parts of a path; none of it exists."""

MANY = 1_000_000
HOST = "easel.example"
GUILD = Place("chat", "guild", "channel", name="The club")


@dataclass(frozen=True, slots=True)
class Asker:
    """A kind of asker: its credentials, made anew for each request, and its role."""

    role: Role
    headers: Callable[[WebHarness], Awaitable[dict[str, str]]]


async def nobody(app: WebHarness) -> dict[str, str]:
    return {}


async def admin(app: WebHarness) -> dict[str, str]:
    return await app.signed_in(ADA, GUILD, admin=True)


async def owner_of_chat(app: WebHarness) -> dict[str, str]:
    app.studio.add_owners("chat", ["7"])
    return await app.signed_in(Actor("chat", "7", "Eve"))


async def token(app: WebHarness) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKEN}"}


async def wrong_token(app: WebHarness) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKEN}x"}


async def key(app: WebHarness) -> dict[str, str]:
    return await app.key_for(f"key {app.key()}")


async def key_of_an_owner(app: WebHarness) -> dict[str, str]:
    await owner_of_chat(app)
    return await app.key_for(f"key {app.key()}", person="chat:7")


async def revoked_key(app: WebHarness) -> dict[str, str]:
    headers = await app.key_for("revoked")
    await app.studio.accounts.keys.revoke(PAGE_OWNER, "revoked")
    return headers


async def ended(app: WebHarness, what: str, seconds: float) -> dict[str, str]:
    headers = await app.signed_in(BOB)
    async with app.db.write() as tx:
        await tx.execute_fetchall(f"UPDATE sessions SET {what} = {what} - ?", (seconds,))
    return headers


async def banned(app: WebHarness) -> dict[str, str]:
    eve = Actor("chat", "9", "Mallory")
    async with app.db.write() as tx:
        await tx.execute_fetchall("DELETE FROM bans")
    headers = await app.signed_in(eve)
    async with app.db.write() as tx:
        await put_ban(tx, Ban("chat", "9", EVERYWHERE, None, "", "operator", 0.0))
    return headers


ASKERS = {
    "anyone": Asker(Role.ANYONE, nobody),
    "member": Asker(Role.MEMBER, lambda app: app.signed_in(BOB)),
    "admin of a place": Asker(Role.ADMIN, admin),
    "member of that place": Asker(Role.MEMBER, lambda app: app.signed_in(BOB, GUILD)),
    "owner by a chat": Asker(Role.OWNER, owner_of_chat),
    "owner by the token": Asker(Role.OWNER, token),
    "API key": Asker(Role.MEMBER, key),
    "API key of an owner": Asker(Role.MEMBER, key_of_an_owner),
    "wrong token": Asker(Role.ANYONE, wrong_token),
    "idle session": Asker(Role.ANYONE, lambda app: ended(app, "used_at", IDLE_SECONDS)),
    "old session": Asker(Role.ANYONE, lambda app: ended(app, "created_at", LONGEST_SECONDS)),
    "revoked API key": Asker(Role.ANYONE, revoked_key),
    "banned member": Asker(Role.ANYONE, banned),
}

REACHED: list[str] = []
"""The handlers that requests have reached since the last request began."""


def recorded(handler: Handler) -> Handler:
    """Return the same handler, which notes that a request has reached it."""

    async def noting(request: web.Request) -> web.StreamResponse:
        REACHED.append(request.path)
        return await handler(request)

    return noting


@pytest.fixture
async def club(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WebHarness]:
    """A page that everybody signs in to, without limits of rate."""
    for limit in ("FAILURES", "READS", "WRITES"):
        monkeypatch.setattr(access, limit, MANY)
    add = RouteTable.add

    def adding(table: RouteTable, app: web.Application, routes: Iterable[Route]) -> None:
        add(table, app, [replace(route, handler=recorded(route.handler)) for route in routes])

    monkeypatch.setattr(RouteTable, "add", adding)
    gate = StepGate()
    gate.open()
    settings = settings_of(public_url=f"http://{HOST}", member_keys=True)
    async with WebHarness(tmp_path, FakeEngine(pause=gate), gate, settings, TOKEN).opened() as one:
        yield one


def test_every_route_has_a_line_and_every_line_a_route(club: WebHarness) -> None:
    roles = club.server.app[ROUTES].roles()
    assert {route: role for route, role in roles.items() if route[0] != "HEAD"} == TABLE
    # HEAD needs what GET needs.
    assert {path: role for (method, path), role in roles.items() if method == "HEAD"}.items() <= {
        path: role for (method, path), role in TABLE.items() if method == "GET"
    }.items()


async def test_the_table_of_access(club: WebHarness) -> None:
    wrong = {}
    for name, asker in ASKERS.items():
        reading = await asker.headers(club)
        # Reading first: some POSTs end sessions.
        for (method, path), role in sorted(TABLE.items()):
            headers = reading if method == "GET" else await asker.headers(club)
            seen = await cell(club, method, path, headers)
            if seen != (asker.role >= role):
                wrong[name, method, path] = seen
    assert wrong == {}


async def cell(app: WebHarness, method: str, path: str, headers: dict[str, str]) -> bool:
    """Whether the asker reached the route's handler, which may well refuse what was sent."""
    for part, value in VALUES.items():
        path = path.replace(part, value)
    REACHED.clear()
    body: dict[str, str] | None = {} if method == "POST" else None
    app.client.session.cookie_jar.clear()
    headers = {**headers, "Host": HOST, "Origin": f"http://{HOST}"}
    async with app.client.request(method, path, json=body, headers=headers, allow_redirects=False) as response:
        assert response.status != 500, path
        # Refusals of the access control are among these; handlers have their own.
        assert REACHED or response.status in {401, 403}, path
    return bool(REACHED)


async def test_what_exists_is_told_to_members_alone(club: WebHarness) -> None:
    for path in ("/nothing", "/api/nothing", "/.env", "/static/../settings.py", "/wp-login.php"):
        assert (await club.client.get(path)).status in {401, 404}
        assert (await club.client.get(path, headers=await club.signed_in())).status == 404
    assert (await club.client.delete("/api/draw")).status == 401


async def test_no_route_shows_or_changes_another_person_s_job(app: WebHarness) -> None:
    app.gate.open()
    ada, bob = await app.key_for("ada"), await app.key_for("bob")
    status, answer = await app.post("/api/draw", {"key": app.key(), "prompt": "a cat"}, headers=ada)
    assert status == 201
    job = answer["card"]["job_id"]
    read = await app.get(f"/api/v1/jobs/{job}?wait=30", headers=ada)
    card = (await app.get(f"/api/jobs/{job}", headers=ada))[1]["card"]
    body = {"action": "favourite", "index": 0}
    paths = [(method, path.replace("{job}", str(job))) for method, path in TABLE if "{job}" in path]
    paths += [("GET", card["pictures"][0][name]) for name in ("url", "thumb", "medium")]
    for method, path in paths:
        filled = path.replace("{index}", "0").replace("{source}", "start")
        async with app.client.request(method, filled, json=body, headers=bob) as response:
            assert response.status == 404, (method, path)
    presses = [button["id"] for row in card["buttons"] for button in row] + [card["pictures"][0]["star"]]
    for press in presses:
        status, answer = await app.press(press, headers=bob)
        assert status in {403, 404}, (press, answer)
    for path, sent in (
        ("/api/delete", {"jobs": [job], "key": app.key()}),
        ("/api/zip", {"pictures": [[job, 0]]}),
        ("/api/v1/jobs", {"prompt": "x", "start": f"{job}.1"}),
    ):
        assert (await app.post(path, sent, headers=bob))[0] in {400, 404}, path
    for path in ("/api/feed", "/api/history", "/api/unfinished"):
        assert (await app.get(path, headers=bob))[1]["cards"] == []
    assert (await app.get("/api/v1/jobs", headers=bob))[1]["jobs"] == []
    assert await app.get(f"/api/v1/jobs/{job}?wait=30", headers=ada) == read
