"""Who may speak to the page: by which names it is called, and from which pages requests that change something come."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.web.request_checks import HEADERS, Guard
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness, error_of, settings_of

UUID = "3f1c2a9e-7b44-4a0e-9d0e-1d2f3a4b5c6d"
PUBLIC = "https://easel.example:8443/draw/"

OURS = [
    "localhost",
    "localhost:7860",
    "localhost:80",
    "LOCALHOST:7860",
    "LocalHost",
    "localhost.",
    "localhost.:7860",
    "127.0.0.1",
    "127.0.0.1:7860",
    "[::1]",
    "[::1]:7860",
    "[0:0:0:0:0:0:0:1]:7860",
]
OTHERS = [
    "",
    " ",
    ".",
    ":7860",
    "localhost.evil.com",
    "localhost.evil.com:7860",
    "evil.com",
    "evil.com:7860",
    "evil.localhost.com",
    "notlocalhost",
    "localhost-evil.com",
    "evil.com.",
    "127.0.0.1.nip.io",
    "127.0.0.1.evil.com:7860",
    "127.0.0.1@evil.com",
    "localhost@evil.com",
    "localhost:7860@evil.com",
    "user@localhost:7860",
    "evil.com#localhost",
    "evil.com#@localhost",
    "evil.com/localhost",
    "localhost/evil.com",
    "evil.com?localhost",
    "evil.com\\localhost",
    "localhost\\@evil.com",
    "localhost,evil.com",
    "localhost evil.com",
    "localhost%00.evil.com",
    "localhost%2eevil.com",
    "localhost\x00",
    "localhost:abc",
    "localhost:99999",
    "localhost:-1",
    "localhost:7860:7860",
    "[::1",
    "::1",
    "[::1].evil.com",
    "[::2]",
    "0.0.0.0",
    "0.0.0.0:7860",
    "[::]",
    "192.168.1.5:7860",
    "8.8.8.8",
    "127.1",
    "0x7f.0.0.1",
    "2130706433",
    "http://localhost",
    "easel.example",
    "*",
]


@pytest.mark.parametrize("host", OURS)
def test_this_machine_is_known_by_its_own_names(host: str) -> None:
    assert Guard(settings_of()).knows(host)


@pytest.mark.parametrize("host", OTHERS)
def test_every_other_name_is_refused(host: str) -> None:
    assert not Guard(settings_of()).knows(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_listening_everywhere_lets_no_more_names_in(host: str) -> None:
    guard = Guard(settings_of(host=host))
    assert [name for name in OURS if not guard.knows(name)] == []
    assert [name for name in OTHERS if guard.knows(name)] == []


@pytest.mark.parametrize(
    ("web_host", "host", "known"),
    [
        ("192.168.1.5", "192.168.1.5:7860", True),
        ("192.168.1.5", "192.168.1.6:7860", False),
        ("Easel.LAN", "easel.lan:7860", True),
        ("easel.lan", "EASEL.lan.", True),
        ("easel.lan", "easel.lan.evil.com", False),
        ("fd00::5", "[fd00::5]:7860", True),
        ("fd00::5", "[fd00::6]:7860", False),
    ],
)
def test_the_address_that_it_listens_on_is_its_name(web_host: str, host: str, known: bool) -> None:
    assert Guard(settings_of(host=web_host)).knows(host) is known


@pytest.mark.parametrize(
    ("public", "host", "known"),
    [
        (PUBLIC, "easel.example:8443", True),
        (PUBLIC, "easel.example", True),
        (PUBLIC, "EASEL.EXAMPLE.", True),
        (PUBLIC, "localhost:7860", True),
        (PUBLIC, "www.easel.example", False),
        (PUBLIC, "easel.example.evil.com", False),
        (PUBLIC, "example", False),
        ("https://Easel.Example.", "easel.example", True),
        ("http://easel.example", "easel.example", True),
        ("https://画.example/", "xn--8nq.example", False),
        ("https://例え.jp/", "xn--r8jz45g.jp", True),
        ("https://192.168.1.5/", "192.168.1.5", True),
        ("https://[fd00::5]/", "[fd00::5]", True),
    ],
)
def test_the_public_address_is_its_name_too(public: str, host: str, known: bool) -> None:
    assert Guard(settings_of(public_url=public)).knows(host) is known


@pytest.mark.parametrize(
    "public", ["easel.example", "easel.example:8443/x", "//easel.example", "ftp://x", "http://", "x"]
)
def test_a_public_address_that_is_none_is_refused_at_the_start(public: str) -> None:
    with pytest.raises(ValidationError, match="public_url"):
        settings_of(public_url=public)


@pytest.mark.parametrize("public", [None, "", "  ", "https://h:99999", "https://[x", "https://:8"])
def test_one_that_names_no_host_lets_nobody_in(public: str | None) -> None:
    guard = Guard(settings_of(public_url=public))
    assert guard.knows("localhost")
    assert [name for name in OTHERS if guard.knows(name)] == []
    assert not guard.is_own("null", "", "localhost")


def test_an_empty_address_to_listen_on_is_refused() -> None:
    # asyncio would listen on every address of the machine.
    with pytest.raises(ValidationError, match="host"):
        settings_of(host="")


LOCAL = re.compile(r"(?:localhost|127\.0\.0\.1)\.*(?::\d*)?|\[[0:]+0*1\](?::\d*)?", re.ASCII | re.IGNORECASE)


@given(st.text() | st.text(alphabet="localhost.:@[]127/\\#?%é0\x00 ") | st.sampled_from([*OURS, *OTHERS]))
@example("localhost...")
def test_no_name_breaks_it(host: str) -> None:
    guard = Guard(settings_of())
    assert not guard.knows(host) or LOCAL.fullmatch(host.strip())
    assert not guard.is_own(host, "", "localhost:7860")


OWN = "localhost:7860"


@pytest.mark.parametrize(
    ("origin", "site", "host", "own"),
    [
        (None, "", OWN, True),  # no browser: curl
        (None, "same-origin", OWN, True),
        (None, "none", OWN, True),
        (None, "same-site", OWN, False),
        (None, "cross-site", OWN, False),
        (None, "nonsense", OWN, False),
        ("http://localhost:7860", "", OWN, True),
        ("http://localhost:7860", "same-origin", OWN, True),
        ("http://localhost:7860", "same-site", OWN, False),
        ("http://localhost:7860", "cross-site", OWN, False),
        ("http://LOCALHOST:7860", "", OWN, True),
        ("https://localhost:7860", "", OWN, True),  # behind a proxy that ends TLS
        ("http://localhost", "", "localhost", True),
        ("http://localhost", "", "localhost:80", True),
        ("http://[::1]:7860", "", "[::1]:7860", True),
        ("http://localhost:7861", "", OWN, False),
        ("http://localhost:3000", "same-site", OWN, False),
        ("http://localhost", "", OWN, False),
        ("http://127.0.0.1:7860", "", OWN, False),
        ("http://evil.com", "", OWN, False),
        ("http://evil.com:7860", "", OWN, False),
        ("http://localhost:7860.evil.com", "", OWN, False),
        ("http://localhost.evil.com:7860", "", OWN, False),
        ("http://localhost:7860@evil.com", "", OWN, False),
        ("http://evil.com@localhost:7860", "", OWN, False),
        ("null", "", OWN, False),
        ("null", "same-origin", OWN, False),
        ("", "", OWN, False),
        ("localhost:7860", "", OWN, False),
        ("//localhost:7860", "", OWN, False),
        ("file://", "", OWN, False),
        ("chrome-extension://localhost:7860", "", OWN, False),
        ("http://localhost:99999", "", OWN, False),
        ("http://easel.example:8443", "", OWN, False),
        ("https://easel.example:8443", "", OWN, True),  # the public address, whatever the proxy says as Host
        ("https://EASEL.example:8443", "same-origin", OWN, True),
        ("https://easel.example:8443", "cross-site", OWN, False),
        ("https://easel.example", "", OWN, False),
        ("https://evil.example:8443", "", OWN, False),
    ],
)
def test_what_changes_something_comes_from_our_own_page(origin: str | None, site: str, host: str, own: bool) -> None:
    assert Guard(settings_of(public_url=PUBLIC)).is_own(origin, site, host) is own


def test_without_a_public_address_there_is_no_second_origin() -> None:
    guard = Guard(settings_of())
    assert not guard.is_own("https://easel.example:8443", "", OWN)
    assert guard.is_own("http://localhost:7860", "", OWN)


def test_the_usual_port_may_be_said_or_not() -> None:
    guard = Guard(settings_of(public_url="https://easel.example:443/"))
    assert guard.is_own("https://easel.example", "", "127.0.0.1:7860")


# ---- The same, over HTTP

PATHS = [
    "/",
    "/static/main.js",
    "/api/info",
    "/api/history",
    "/pictures/1/0.png",
    "/healthz",
    "/readyz",
    "/metrics",
    "/x",
]


@pytest.mark.parametrize("path", PATHS)
async def test_a_rebound_name_reads_nothing(app: WebHarness, path: str) -> None:
    headers = {"Host": f"localhost.evil.com:{app.client.port}"}
    async with app.client.get(path, headers=headers) as response:
        assert response.status == 403
        key, text = error_of(await response.json())
    assert key == "refusal.web.host"
    assert "localhost.evil.com" in text
    assert "EASEL_WEB_PUBLIC_URL" in text


async def test_a_long_or_strange_name_is_shown_short_and_as_it_is(app: WebHarness) -> None:
    _, answer = await app.get("/", headers={"Host": "a" * 5000})
    assert len(error_of(answer)[1]) < 250
    _, answer = await app.get("/?lang=zh", headers={"Host": "@error.web"})
    assert " @error.web " in error_of(answer)[1]


async def test_no_name_at_all_is_refused(app: WebHarness) -> None:
    for request in ("GET /api/info HTTP/1.0\r\n\r\n", "GET /api/info HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n"):
        status, answer = await app.raw(request)
        assert status == 403
        assert "refusal.web.host" in answer


async def test_two_names_are_refused(app: WebHarness) -> None:
    status, answer = await app.raw("GET /api/info HTTP/1.1\r\nHost: HOST\r\nHost: evil.com\r\n\r\n")
    assert status == 400
    assert "version" not in answer


FOREIGN: list[dict[str, str]] = [
    {"Origin": "https://evil.com"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_another_site_starts_nothing(app: WebHarness, headers: dict[str, str]) -> None:
    for path, body in (
        ("/api/draw", {"key": UUID, "prompt": "a cat"}),
        ("/api/press", {"key": UUID, "id": "easel:reroll:1"}),
        ("/", {}),
    ):
        status, answer = await app.post(path, body, headers=headers)
        assert (status, error_of(answer)[0]) == (403, "refusal.web.origin")
    assert await app.count("jobs") == 0


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_that_may_change_something_is_looked_at(app: WebHarness, method: str) -> None:
    async with app.client.request(method, "/api/draw", headers={"Origin": "https://evil.com"}) as response:
        assert response.status == 403
        assert not [name for name in response.headers if name.lower().startswith("access-control")]


async def test_its_own_page_may(app: WebHarness) -> None:
    own = {"Origin": f"http://127.0.0.1:{app.client.port}", "Sec-Fetch-Site": "same-origin"}
    status, _ = await app.post("/api/draw", {"key": UUID, "prompt": "a cat"}, headers=own)
    assert status == 201


@pytest.fixture
async def published(tmp_path: Path) -> AsyncIterator[WebHarness]:
    gate = StepGate()
    gate.open()
    settings = settings_of(host="0.0.0.0", public_url=PUBLIC)
    async with WebHarness(tmp_path, FakeEngine(pause=gate), gate, settings, "t" * 32).opened() as one:
        yield one


async def test_a_page_behind_a_proxy_may(published: WebHarness) -> None:
    own: dict[str, Any] = {
        "Authorization": f"Bearer {published.token}",
        "Origin": "https://easel.example:8443",
        "Sec-Fetch-Site": "same-origin",
    }
    for host in ("easel.example:8443", "127.0.0.1:7860"):
        body = {"key": published.key(), "prompt": "a cat"}
        assert (await published.post("/api/draw", body, headers={**own, "Host": host}))[0] == 201
    for bad in ("https://easel.example", "https://other.example:8443"):
        body = {"key": published.key(), "prompt": "a cat"}
        assert (await published.post("/api/draw", body, headers={**own, "Origin": bad}))[0] == 403


async def test_every_answer_has_the_headers(app: WebHarness) -> None:
    job = (await app.drawn())["job_id"]
    seen = set()
    for method, path, headers in (
        ("GET", "/", {}),
        ("GET", "/static/main.js", {}),
        ("GET", "/static/nope.js", {}),
        ("GET", "/api/info", {}),
        ("GET", f"/api/jobs/{job}/events", {}),
        ("GET", f"/pictures/{job}/0.png", {}),
        ("GET", f"/pictures/{job}/9.png", {}),
        ("GET", "/nowhere", {}),
        ("GET", "/nowhere", {"Accept": "text/html"}),
        ("DELETE", "/api/info", {}),
        ("POST", "/api/draw", {}),
        ("GET", "/", {"Host": "evil.com"}),
        ("GET", "/metrics", {}),
        ("GET", "/readyz", {}),
        ("HEAD", "/", {}),
    ):
        async with app.client.request(method, path, headers=headers) as response:
            seen.add(response.status)
            assert {name: response.headers.get(name) for name in HEADERS} == HEADERS, f"{method} {path}"
            assert "no-cache" in response.headers["Cache-Control"]
            private = path != "/" and not path.startswith("/static/")
            assert ("private" in response.headers["Cache-Control"]) is private, f"{method} {path}"
    assert seen == {200, 403, 404, 405, 415}


async def test_nothing_of_the_page_may_come_from_elsewhere(app: WebHarness) -> None:
    async with app.client.get("/") as response:
        policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert {policy[what] for what in ("script-src", "style-src", "img-src", "connect-src", "form-action")} == {"'self'"}
