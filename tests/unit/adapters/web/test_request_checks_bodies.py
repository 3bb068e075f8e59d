"""BodyReader within limits: none holds up the loop, none is read without end, and all together fit the memory."""

from __future__ import annotations

import asyncio
import gc
import io
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientResponse, FormData, MultipartReader

from adapters.web import request_checks
from bot.core.errors import BadInput
from tests.fakes.source_images import picture
from tests.unit.adapters.web.harness import WebHarness, error_of

UUID = "3f1c2a9e-7b44-4a0e-9d0e-1d2f3a4b5c6d"
JSON = {"Content-Type": "application/json"}
BOUNDARY = "xxxx"
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def many_keys(size: int) -> bytes:
    return json.dumps({str(number): 0 for number in range(size // 10)}).encode()


async def send(app: WebHarness, data: bytes, headers: dict[str, str]) -> ClientResponse:
    return await app.client.post("/api/draw", data=io.BytesIO(data), headers=headers)


async def test_a_large_json_body_is_refused_by_its_length_alone(app: WebHarness) -> None:
    # Not a byte of it is sent: only what it says of itself counts.
    status, answer = await app.raw(
        "POST /api/draw HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\n"
        "Content-Length: 25165824\r\nConnection: close\r\n\r\n"
    )
    assert status == 413
    assert "64 KiB" in answer


async def test_the_largest_json_body_takes_the_loop_a_moment_and_names_one_key(app: WebHarness) -> None:
    data = many_keys(request_checks.MAX_JSON - 10_000)
    parts = [request_checks._object(data) for _ in range(3)]
    assert len(parts[0]) > 5_000
    async with await send(app, data, JSON) as response:
        assert response.status == 400
        text = error_of(await response.json())[1]
    assert "0: unknown field" in text
    assert len(text) < 200


async def test_validation_makes_one_error_however_many_keys_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    validate = request_checks.DrawBody.model_validate

    def counted(sent: dict[str, object]) -> request_checks.DrawBody:
        asked.append(len(sent))
        return validate(sent)

    monkeypatch.setattr(request_checks.DrawBody, "model_validate", counted)
    with pytest.raises(BadInput):
        request_checks._checked({f"x{number}": 0 for number in range(7_000)}, request_checks.DrawBody)
    with pytest.raises(BadInput) as caught:
        request_checks._checked({name: [] for name in request_checks.DrawBody.model_fields}, request_checks.DrawBody)
    assert asked == [len(request_checks.DrawBody.model_fields)]
    assert str(caught.value.params["problem"]).startswith("key: ")


async def test_deep_nesting_is_one_sentence(app: WebHarness) -> None:
    for deep in (b"[" * 30_000 + b"]" * 30_000, b'{"key":' * 8_000 + b"1" + b"}" * 8_000):
        async with await send(app, deep, JSON) as response:
            assert response.status == 400
            key, text = error_of(await response.json())
        assert (key, len(text) < 200) == ("refusal.web.body", True)


async def test_a_compressed_body_is_not_unpacked(app: WebHarness) -> None:
    for headers in (JSON, MULTIPART):
        async with await send(app, b"x", {**headers, "Content-Encoding": "br"}) as response:
            assert response.status in {400, 415}
    assert await app.count("jobs") == 0


async def test_a_multipart_body_says_its_length_and_is_not_too_long(app: WebHarness) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"--xxxx\r\n"

    async with app.client.post("/api/draw", data=endless(), headers=MULTIPART) as response:
        assert (response.status, error_of(await response.json())[0]) == (411, "refusal.web.length")
    status, _ = await app.raw(
        f"POST /api/draw HTTP/1.1\r\nHost: HOST\r\nContent-Type: {MULTIPART['Content-Type']}\r\n"
        f"Content-Length: {request_checks.MAX_MULTIPART + 1}\r\nConnection: close\r\n\r\n"
    )
    assert status == 413


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
GOOD = part("key", UUID.encode()) + part("prompt", b"a cat")
FORMS: list[tuple[str, bytes, str]] = [
    ("nothing", b"", "multipart"),
    ("no boundary", b"hello", "multipart"),
    ("cut off", GOOD, "multipart"),
    ("cut off in a part", GOOD[:-20], "multipart"),
    ("no prompt", part("key", UUID.encode()) + END, "prompt"),
    ("unknown field", GOOD + part("owner", b"x") + END, "owner"),
    ("a field twice", GOOD + part("prompt", b"x") + END, "prompt"),
    ("a part without a name", GOOD + f"--{BOUNDARY}\r\n\r\nx\r\n".encode() + END, "name"),
    ("no UTF-8", part("key", UUID.encode()) + part("prompt", b"\xff") + END, "prompt"),
    ("many parts", GOOD + b"".join(part(f"p{n}", b"") for n in range(200)) + END, "p0"),
    (
        "a form in a form",
        f"--{BOUNDARY}\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y--\r\n".encode() + END,
        "",
    ),
    ("a broken header", f"--{BOUNDARY}\r\nnonsense\r\n\r\nx\r\n".encode() + END, ""),
]


@pytest.mark.parametrize(("what", "body", "named"), FORMS, ids=[what for what, _, _ in FORMS])
async def test_a_form_that_is_none_is_one_sentence(app: WebHarness, what: str, body: bytes, named: str) -> None:
    async with await send(app, body, MULTIPART) as response:
        assert response.status == 400, what
        key, text = error_of(await response.json())
    assert (key, named in text, len(text) < 300) == ("refusal.web.body", True, True)
    assert await app.count("jobs") == 0


async def test_text_in_a_form_has_the_limit_of_json(app: WebHarness) -> None:
    status, answer = await app.upload({"key": UUID, "prompt": "a" * request_checks.MAX_JSON}, {})
    assert (status, error_of(answer)[0]) == (413, "refusal.web.too_large")


async def test_one_picture_has_a_limit(app: WebHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_checks, "MAX_PICTURE", 1000)
    status, answer = await app.upload({"key": UUID, "prompt": "a"}, {"image": b"x" * 1001})
    assert (status, error_of(answer)[0]) == (413, "refusal.web.pictures_too_large")


async def test_all_pictures_together_have_a_limit(app: WebHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_checks, "MAX_MULTIPART", 3 * 2**20)
    status, answer = await app.upload({"key": UUID, "prompt": "a"}, {"image": b"x" * 3 * 2**20})
    assert (status, error_of(answer)[0]) == (413, "refusal.web.pictures_too_large")
    assert "32 MiB each and 3 MiB together" in error_of(answer)[1]


async def test_a_file_field_that_nothing_was_chosen_for_is_none(app: WebHarness) -> None:
    async with await send(app, GOOD + part("image", b"", '; filename=""') + END, MULTIPART) as response:
        assert response.status == 201


@pytest.mark.parametrize("content", list(map(str, (JSON["Content-Type"], MULTIPART["Content-Type"]))))
async def test_a_body_that_comes_too_slowly_is_given_up(
    app: WebHarness, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_checks, "BODY_SECONDS", 0.0)
    monkeypatch.setattr(request_checks, "RATE", 10**9)
    before = app.answering()
    reader, writer = await asyncio.open_connection("127.0.0.1", app.client.port)
    writer.write(
        f"POST /api/draw HTTP/1.1\r\nHost: 127.0.0.1:{app.client.port}\r\nContent-Type: {content}\r\n"
        "Content-Length: 50\r\nConnection: close\r\n\r\n--xx".encode()
    )
    assert b" 408 " in await reader.readline()
    writer.close()
    await app.until(lambda: app.answering() <= before)


async def test_text_before_the_first_part_is_not_skipped_line_by_line(
    app: WebHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = 0
    readline = MultipartReader._readline

    async def counted(self: MultipartReader) -> bytes:
        nonlocal lines
        lines += 1
        return await readline(self)

    monkeypatch.setattr(MultipartReader, "_readline", counted)
    async with await send(app, b"\n" * 10_000 + GOOD + END, MULTIPART) as response:
        assert response.status == 400
    assert lines < 5
    async with await send(app, b"\r\n" + GOOD + END, MULTIPART) as response:
        assert response.status == 201


async def test_all_uploads_together_have_a_limit_and_wait_for_each_other() -> None:
    one = request_checks.BodyReader(most=100)
    async with one._reserved(60):
        async with one._reserved(40):
            waiting = asyncio.ensure_future(one._reserved(50).__aenter__())
            small = asyncio.ensure_future(one._reserved(1).__aenter__())
            await asyncio.sleep(0)
            assert not waiting.done()
            assert not small.done()
        await small
        assert not waiting.done()
    await asyncio.wait_for(waiting, 10)


async def test_an_upload_that_finds_no_memory_is_told_when_to_come_back(
    app: WebHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_checks, "WAIT_SECONDS", 0.01)
    holder = next(h for h in app.server.app.router.routes() if "draw" in str(h.resource)).handler.__self__  # type: ignore[attr-defined]
    holder._bodies = bodies = request_checks.BodyReader(most=10)
    data = FormData(default_to_multipart=True)
    data.add_field("image", picture(), filename="x.png")
    async with bodies._reserved(1), app.client.post("/api/draw", data=data) as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "1"
        assert error_of(await response.json())[0] == "unavailable.web.uploads"


async def test_memory_is_given_back_when_an_upload_breaks_off(app: WebHarness) -> None:
    holder = next(h for h in app.server.app.router.routes() if "draw" in str(h.resource)).handler.__self__  # type: ignore[attr-defined]
    before = holder._bodies._free
    _, writer = await asyncio.open_connection("127.0.0.1", app.client.port)
    writer.write(
        f"POST /api/draw HTTP/1.1\r\nHost: 127.0.0.1:{app.client.port}\r\nContent-Type: {MULTIPART['Content-Type']}\r\n"
        "Content-Length: 5000000\r\n\r\n--xxxx\r\n".encode()
    )
    await app.until(lambda: holder._bodies._free < before)
    writer.close()
    await app.until(lambda: holder._bodies._free == before)


async def test_a_refused_picture_does_not_stay_in_memory(app: WebHarness) -> None:
    size = 2 * 2**20

    def large() -> set[int]:
        """Ids of all large bytes that something holds."""
        parts = (part for one in gc.get_objects() for part in gc.get_referents(one))
        return {id(part) for part in parts if type(part) in {bytes, bytearray} and len(part) > size // 2}

    gc.collect()
    # Parameters of other tests are large too, and stay.
    before = large()
    gc.disable()
    try:
        status, _ = await app.upload({"key": UUID, "prompt": "a"}, {"image": b"no picture" * (size // 10)})
        assert status == 400
        # The thread that read it may need a moment to end its frames; what is in a cycle stays without a collection.
        await app.until(lambda: large() <= before)
    finally:
        gc.enable()
