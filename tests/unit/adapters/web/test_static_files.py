"""The page's files and other answers as they are sent: compressed, revalidated, and never a stream or a picture."""

from __future__ import annotations

import gzip

import pytest
from aiohttp import ClientResponse

from adapters.web import static_files
from adapters.web.static_files import STATIC
from tests.unit.adapters.web.harness import WebHarness


async def fetch(app: WebHarness, path: str, **headers: str) -> tuple[ClientResponse, bytes]:
    """Return an answer and its bytes as they were sent."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    # Without this, aiohttp's client accepts compressed answers by itself.
    sent.setdefault("Accept-Encoding", "identity")
    async with app.client.get(path, headers=sent, auto_decompress=False) as response:
        return response, await response.read()


@pytest.mark.parametrize("name", ["index.html", "easel.css", "main.js", "preact.js"])
async def test_a_file_is_compressed_for_those_who_read_that(app: WebHarness, name: str) -> None:
    path = "/" if name == "index.html" else f"/static/{name}"
    plain, body = await fetch(app, path)
    assert body == (STATIC / name).read_bytes()
    assert "Content-Encoding" not in plain.headers
    packed, small = await fetch(app, path, Accept_Encoding="br;q=1, gzip;q=0.8")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(small) == body
    assert len(small) < len(body) / 2 or name == "preact.js"
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    assert plain.headers["ETag"] != packed.headers["ETag"]
    assert plain.headers["Content-Type"] == packed.headers["Content-Type"]


@pytest.mark.parametrize("accepted", ["gzip;q=0", "gzip; q=0.0", "br", "deflate", "identity", "gzippy"])
async def test_it_is_not_compressed_for_others(app: WebHarness, accepted: str) -> None:
    response, _ = await fetch(app, "/static/main.js", Accept_Encoding=accepted)
    assert "Content-Encoding" not in response.headers


@pytest.mark.parametrize("accepted", ["gzip", "identity"])
async def test_a_file_that_the_browser_has_is_not_sent_again(app: WebHarness, accepted: str) -> None:
    first, _ = await fetch(app, "/static/main.js", Accept_Encoding=accepted)
    assert first.headers["Cache-Control"] == "no-cache"
    tag = first.headers["ETag"]
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again, body = await fetch(app, "/static/main.js", Accept_Encoding=accepted, If_None_Match=known)
        assert (again.status, body, again.headers["ETag"]) == (304, b"", tag)
        assert "Content-Security-Policy" in again.headers
    other, _ = await fetch(app, "/static/main.js", Accept_Encoding=accepted, If_None_Match='"x"')
    assert other.status == 200


@pytest.mark.parametrize("name", ["none.js", "..%2Fapi.py", "%2Fetc%2Fpasswd", "__pycache__", "main.js.gz", "", "."])
async def test_other_names_are_not_found(app: WebHarness, name: str) -> None:
    assert (await fetch(app, f"/static/{name}"))[0].status == 404


async def test_json_is_compressed_where_that_saves_anything(app: WebHarness) -> None:
    plain, body = await fetch(app, "/api/info")
    packed, small = await fetch(app, "/api/info", Accept_Encoding="gzip")
    assert gzip.decompress(small) == body
    assert len(small) < len(body) / 2
    assert int(packed.headers["Content-Length"]) == len(small)
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    assert plain.headers["Cache-Control"] == packed.headers["Cache-Control"] == "private, no-cache"
    short, _ = await fetch(app, "/api/unfinished", Accept_Encoding="gzip")
    assert "Content-Encoding" not in short.headers


async def test_pictures_and_very_large_answers_are_sent_as_they_are(
    app: WebHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    (picture,) = (await app.drawn())["pictures"]
    for path in (picture["url"], picture["thumb"]):
        response, body = await fetch(app, path, Accept_Encoding="gzip")
        assert "Content-Encoding" not in response.headers
        assert body[:4] in {b"\x89PNG", b"RIFF"}
    monkeypatch.setattr(static_files, "MOST_BYTES", 2000)
    response, _ = await fetch(app, "/api/info", Accept_Encoding="gzip")
    assert "Content-Encoding" not in response.headers


async def test_head_has_the_headers_of_get(app: WebHarness) -> None:
    response, _ = await fetch(app, "/static/main.js", Accept_Encoding="gzip")
    async with app.client.head("/static/main.js", headers={"Accept-Encoding": "gzip"}, auto_decompress=False) as head:
        assert head.headers["ETag"] == response.headers["ETag"]
        assert await head.read() == b""
