"""Who is let in: this machine by its socket, others by the token; headers can only take that away."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from pydantic import ValidationError

from adapters.cli import doctor
from adapters.web import access, service
from adapters.web.settings import TOKEN_FILE
from bot.core.errors import BadInput
from bot.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness, app_of, error_of, settings_of

TOKEN = "k" * 32
PUBLIC = "https://easel.example"
OWNERS = ["/", "/api/info", "/api/history", "/api/quota", "/pictures/1/0.png", "/metrics"]
LAN = "192.168.1.5"


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The address that every request comes from, instead of the test's own."""
    seen = {"address": "192.168.1.77"}
    transport = web.BaseRequest.transport.fget  # type: ignore[attr-defined]

    class Moved:
        def __init__(self, real: Any) -> None:
            self._real = real

        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return (seen["address"], 50_000) if name == "peername" else self._real.get_extra_info(name, default)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    monkeypatch.setattr(web.BaseRequest, "transport", property(lambda self: Moved(transport(self))))
    return seen


async def opened(folder: Path, token: str = TOKEN, **settings: Any) -> AsyncIterator[WebHarness]:
    gate = StepGate()
    gate.open()
    async with WebHarness(folder, FakeEngine(pause=gate), gate, settings_of(**settings), token).opened() as one:
        yield one


@pytest.fixture
async def exposed(tmp_path: Path) -> AsyncIterator[WebHarness]:
    """A page that listens on all addresses."""
    async for one in opened(tmp_path, host="0.0.0.0"):
        yield one


@pytest.fixture
async def proxied(tmp_path: Path) -> AsyncIterator[WebHarness]:
    """A page on the loopback alone, behind a proxy of its owner."""
    async for one in opened(tmp_path, public_url=PUBLIC):
        yield one


async def status(app: WebHarness, path: str, **headers: str) -> int:
    async with app.client.get(path, headers=headers, allow_redirects=False) as response:
        return response.status


@pytest.mark.parametrize("address", ["192.168.1.77", "172.17.0.1", "8.8.8.8", "fd00::5", "::ffff:192.168.1.77", ""])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:7860", "[::1]", LAN])
async def test_another_machine_gets_nothing_by_any_name(
    exposed: WebHarness, peer: dict[str, str], address: str, host: str
) -> None:
    peer["address"] = address
    for path in OWNERS:
        assert await status(exposed, path, Host=host) == 401, path
        # What it says of itself does not count.
        claims = {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"}
        assert await status(exposed, path, Host=host, **claims) == 401, path
    body = {"key": exposed.key(), "prompt": "a cat"}
    answered, answer = await exposed.post("/api/draw", body, headers={"Host": host})
    assert (answered, error_of(answer)[0]) == (401, "refusal.web.token")
    assert await exposed.count("jobs") == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
async def test_this_machine_needs_no_token(exposed: WebHarness, peer: dict[str, str], address: str) -> None:
    peer["address"] = address
    for path in OWNERS:
        assert await status(exposed, path) in {200, 404}, path


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Host"])
async def test_a_proxy_on_this_machine_is_not_this_machine(exposed: WebHarness, header: str) -> None:
    assert await status(exposed, "/api/info", **{header: "1.2.3.4"}) == 401


async def test_a_page_for_this_machine_alone_says_how_to_let_a_proxy_in(app: WebHarness) -> None:
    code, answer = await app.get("/api/info", headers={"X-Forwarded-For": "1.2.3.4"})
    key, text = error_of(answer)
    assert (code, key, "EASEL_WEB_PUBLIC_URL" in text) == (403, "refusal.web.proxied", True)


async def test_behind_a_proxy_of_one_s_own_all_need_the_token(proxied: WebHarness) -> None:
    # A proxy's usual settings hand on neither who asks nor under which name.
    for host in ("easel.example", "127.0.0.1:7860", "localhost"):
        assert await status(proxied, "/api/info", Host=host) == 401
        assert await status(proxied, "/api/info", Host=host, Authorization=f"Bearer {TOKEN}") == 200
    # Prometheus on this machine goes on as before; by the proxy it does not.
    assert await status(proxied, "/metrics") == 200
    assert await status(proxied, "/metrics", Host="easel.example") == 401
    assert await status(proxied, "/metrics", **{"X-Forwarded-For": "1.2.3.4"}) == 401


async def test_probes_answer_everybody_and_say_no_more_than_yes_or_no(
    exposed: WebHarness, peer: dict[str, str]
) -> None:
    assert await status(exposed, "/healthz", Host=LAN) == 200
    await exposed.engine.lose("the secret of the device")
    assert await exposed.get("/readyz", headers={"Host": LAN}) == (503, {"ready": False})
    peer["address"] = "127.0.0.1"
    assert "the secret of the device" in str(await exposed.get("/readyz"))


@pytest.mark.parametrize("bad", ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer é"])
async def test_a_wrong_token_is_none(exposed: WebHarness, peer: dict[str, str], bad: str) -> None:
    assert peer
    assert await status(exposed, "/api/info", Host=LAN, Authorization=bad) == 401


async def test_a_session_does_not_let_its_member_try_tokens(exposed: WebHarness, peer: dict[str, str]) -> None:
    assert peer
    session = await exposed.signed_in()
    for token in ("wrong", TOKEN):
        bearer = {"Host": LAN, "Cookie": session["Cookie"], "Authorization": f"Bearer {token}"}
        assert await status(exposed, "/api/account", **bearer) == 200
        assert await status(exposed, "/metrics", **bearer) == 403


async def test_wrong_keys_of_others_do_not_shut_out_a_right_one(exposed: WebHarness, peer: dict[str, str]) -> None:
    assert peer
    key = await exposed.key_for()
    wrong = {"Host": LAN, "Authorization": "Bearer easel-wrong"}
    codes = [await status(exposed, "/api/info", **wrong) for _ in range(access.FAILURES + 1)]
    assert codes == [401] * access.FAILURES + [429]
    assert await status(exposed, "/api/info", Host=LAN, **key) == 200


async def test_the_link_gives_a_cookie_and_hides_the_token(exposed: WebHarness, peer: dict[str, str]) -> None:
    assert peer
    async with exposed.client.get(
        f"/?token={TOKEN}&lang=zh", headers={"Host": f"{LAN}:7860"}, allow_redirects=False
    ) as response:
        assert response.status == 303
        assert response.headers["Location"] == "/?lang=zh"
        (cookie,) = response.headers.getall("Set-Cookie")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    value = cookie.partition(";")[0]
    exposed.client.session.cookie_jar.clear()
    assert await status(exposed, "/api/info", Host=LAN, Cookie=value) == 200
    assert await status(exposed, "/api/info", Host=LAN, Cookie=f"{value}0") == 401
    # A cookie does not make every name a name of this page: rebinding stays shut out.
    assert await status(exposed, "/api/info", Host="evil.com", Cookie=value) == 403
    # Nor does it let other sites send requests.
    body = {"key": exposed.key(), "prompt": "a cat"}
    headers = {"Host": LAN, "Cookie": value, "Origin": "https://evil.com"}
    assert (await exposed.post("/api/draw", body, headers=headers))[0] == 403
    headers["Origin"] = f"http://{LAN}"
    assert (await exposed.post("/api/draw", body, headers=headers))[0] == 201


async def test_the_cookie_of_a_page_by_https_is_sent_by_https_alone(proxied: WebHarness) -> None:
    for host, secure in (("easel.example", True), ("127.0.0.1:7860", False)):
        async with proxied.client.get(f"/?token={TOKEN}", headers={"Host": host}, allow_redirects=False) as response:
            assert ("Secure" in response.headers["Set-Cookie"]) is secure


async def test_a_link_with_a_wrong_token_says_so(exposed: WebHarness, peer: dict[str, str]) -> None:
    assert peer
    async with exposed.client.get("/?token=wrong", headers={"Host": LAN, "Accept": "text/html"}) as response:
        assert response.status == 401
        assert "Set-Cookie" not in response.headers
        assert await response.text() == exposed.studio.text("refusal.web.token.wrong", "en")
    # The token in the address of anything but the page is none.
    assert await status(exposed, f"/api/info?token={TOKEN}", Host=LAN) == 401


async def test_without_a_token_nothing_is_right(tmp_path: Path, peer: dict[str, str]) -> None:
    assert peer
    async for app in opened(tmp_path, token=""):
        for headers in ({}, {"Authorization": "Bearer "}, {"Cookie": "easel_7860="}):
            assert await status(app, "/?token=", **headers) == 403


# ---- The token's own file


@pytest.mark.parametrize(
    ("settings", "exposed"),
    [
        ({}, False),
        ({"host": "localhost"}, False),
        ({"host": "127.0.0.2"}, False),
        ({"host": "::1"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "::"}, True),
        ({"host": LAN}, True),
        ({"host": "easel.lan"}, True),
        ({"public_url": PUBLIC}, True),
    ],
)
async def test_which_pages_others_can_reach(settings: dict[str, str], exposed: bool, tmp_path: Path) -> None:
    found = settings_of(port=unused_port(), unsafe_bind=True, **settings)
    assert found.exposed is exposed
    assert bool(access.token_of(found, tmp_path)) is exposed
    assert (tmp_path / TOKEN_FILE).exists() is exposed
    config = app_of(tmp_path, found)
    findings = [
        finding async for finding in doctor.check_platform(config.core, config.platforms[0]) if finding.name == "page"
    ]
    assert bool(findings) is exposed
    for finding in findings:
        assert str(tmp_path / TOKEN_FILE) in finding.found
        assert access.token_of(found, tmp_path) not in finding.found


def test_a_token_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    settings = settings_of(host="0.0.0.0")
    before = os.umask(0)
    try:
        token = access.token_of(settings, tmp_path / "new")
    finally:
        os.umask(before)
    path = tmp_path / "new" / TOKEN_FILE
    assert len(token) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    assert access.token_of(settings, tmp_path / "new") == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == [TOKEN_FILE]


def test_the_settings_own_token_wins_and_is_long_enough(tmp_path: Path) -> None:
    settings = settings_of(host="0.0.0.0", token=TOKEN)
    assert access.token_of(settings, tmp_path) == TOKEN
    assert list(tmp_path.iterdir()) == []
    assert TOKEN not in repr(settings)
    assert settings_of(token=" ").token is None
    with pytest.raises(ValidationError, match="token"):
        settings_of(token="short")


def test_a_file_without_a_token_is_one_sentence(tmp_path: Path) -> None:
    settings = settings_of(host="0.0.0.0")
    path = tmp_path / TOKEN_FILE

    def refused() -> None:
        with pytest.raises(BadInput) as caught:
            access.token_of(settings, tmp_path)
        assert caught.value.key == "refusal.web.token_file"
        assert caught.value.params["path"] == str(path)

    path.write_text("")
    refused()
    path.write_text("short\n")
    refused()
    path.unlink()
    os.mkfifo(path)
    refused()
    path.unlink()
    path.mkdir()
    refused()


async def test_the_service_gives_its_link_where_others_can_reach_it(app: WebHarness, tmp_path: Path) -> None:
    port = unused_port()
    settings, core = (
        settings_of(host="0.0.0.0", port=port, unsafe_bind=True),
        Settings(_env_file=None, data_dir=tmp_path),
    )
    page = service.build(settings, core, app.studio, app.registry)
    await page.start()
    url = page.url
    try:
        assert page.link == f"{url}?token={access.token_of(settings, tmp_path)}"
        async with aiohttp.ClientSession() as session, session.get(page.link) as response:
            assert response.status == 200
            assert str(response.url) == url
    finally:
        await page.stop()
    local = service.build(settings_of(port=port), core, app.studio, app.registry)
    await local.start()
    assert local.link is None
    await local.stop()
