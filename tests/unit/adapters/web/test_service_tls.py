"""HTTPS by the page itself: its cookies, its refusals, and handshakes that never end."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import unused_port
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from adapters.web import service
from bot.core.errors import BadInput
from bot.settings import Settings
from tests.unit.adapters.web.harness import TOKEN, WebHarness, settings_of


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of this machine, signed by itself, and its key."""
    folder, key = tmp_path_factory.mktemp("tls"), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


async def test_https_by_the_page_itself(app: WebHarness, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = certificate
    port = unused_port()
    settings = settings_of(host="127.0.0.1", port=port, tls_cert=cert, tls_key=key, hosts="localhost", token=TOKEN)
    page = service.build(settings, Settings(_env_file=None, data_dir=tmp_path), app.studio, app.registry)
    await page.start()
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    trust = ssl.create_default_context(cafile=str(cert))
    base = f"https://localhost:{port}"
    try:
        assert page.url == f"https://127.0.0.1:{port}/"
        assert page.link == f"{base}/?token={TOKEN}"
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust), cookie_jar=aiohttp.DummyCookieJar()
        ) as client:
            # Handshakes that never end keep nobody waiting.
            async with asyncio.timeout(10), client.get(f"{base}/healthz") as response:
                assert response.status == 200
            async with client.post(
                f"{base}/signin", data={"token": TOKEN}, headers={"Origin": base}, allow_redirects=False
            ) as response:
                assert response.status == 303
                cookie = response.headers["Set-Cookie"]
            assert cookie.startswith(f"__Host-easel_{port}=")
            assert {"Secure", "HttpOnly", "Path=/"} <= {part.strip() for part in cookie.split(";")}
            headers = {"Cookie": cookie.partition(";")[0]}
            async with client.get(f"{base}/api/account", headers=headers) as response:
                assert (response.status, (await response.json())["role"]) == (200, "owner")
            # The same session under the name of HTTP's cookie is none: that one could come from the network.
            plain = {"Cookie": headers["Cookie"].removeprefix("__Host-")}
            async with client.get(f"{base}/api/account", headers=plain) as response:
                assert response.status == 401
            # A page of the same name by HTTP is another site.
            crossed = {**headers, "Origin": f"http://localhost:{port + 1}"}
            async with client.post(f"{base}/api/press", json={}, headers=crossed) as response:
                assert response.status == 403
        with contextlib.suppress(aiohttp.ClientError):
            async with aiohttp.ClientSession() as client, client.get(f"http://localhost:{port}/healthz"):
                pytest.fail("HTTP was answered")
    finally:
        for _, writer in idle:
            writer.close()
        await page.stop()


async def test_a_certificate_that_can_t_be_used_is_one_sentence(
    app: WebHarness, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, key = certificate
    (tmp_path / "no.pem").write_text("nothing")
    for first, second in ((cert, tmp_path / "none.pem"), (tmp_path / "no.pem", key), (key, cert)):
        settings = settings_of(port=unused_port(), tls_cert=first, tls_key=second)
        page = service.build(settings, Settings(_env_file=None, data_dir=tmp_path), app.studio, app.registry)
        with pytest.raises(BadInput) as caught:
            await page.start()
        assert caught.value.key == "refusal.web.tls_file"
        await page.stop()


async def test_an_unprotected_page_does_not_start(app: WebHarness, tmp_path: Path) -> None:
    settings = settings_of(host="0.0.0.0", port=unused_port())
    page = service.build(settings, Settings(_env_file=None, data_dir=tmp_path), app.studio, app.registry)
    with pytest.raises(BadInput) as caught:
        await page.start()
    assert caught.value.key == "refusal.web.bind"
    await page.stop()
