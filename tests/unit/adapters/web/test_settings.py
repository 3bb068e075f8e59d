"""The page's settings: where it may listen, under which names, and which proxies it believes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.cli import doctor
from bot.core.errors import BadInput
from tests.unit.adapters.web.harness import app_of, settings_of

TLS = {"tls_cert": Path("cert.pem"), "tls_key": Path("key.pem")}


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({}, ""),
        ({"host": "localhost"}, ""),
        ({"host": "127.0.0.5"}, ""),
        ({"host": "::1"}, ""),
        ({"host": "0.0.0.0"}, "refusal.web.bind"),
        ({"host": "::"}, "refusal.web.bind"),
        ({"host": "192.168.1.5"}, "refusal.web.bind"),
        ({"host": "nas.lan"}, "refusal.web.bind"),
        # Neither a public address nor names protect what is sent.
        ({"host": "0.0.0.0", "public_url": "https://easel.example"}, "refusal.web.bind"),
        ({"host": "0.0.0.0", "hosts": "nas.lan"}, "refusal.web.bind"),
        ({"host": "0.0.0.0", "unsafe_bind": True}, ""),
        ({"host": "0.0.0.0", "trusted_proxies": "10.0.0.1"}, ""),
        ({"host": "0.0.0.0", **TLS}, ""),
        ({"tls_cert": Path("cert.pem")}, "refusal.web.tls_pair"),
        ({"host": "0.0.0.0", "unsafe_bind": True, "tls_key": Path("key.pem")}, "refusal.web.tls_pair"),
    ],
)
async def test_where_the_page_may_listen(given: dict[str, Any], refused: str, tmp_path: Path) -> None:
    settings = settings_of(port=1, **given)
    found = ""
    try:
        settings.check_bind()
    except BadInput as error:
        found = error.key
    assert found == refused
    config = app_of(tmp_path, settings)
    checks = [c async for c in doctor.check_platform(config.core, config.platforms[0]) if c.name == "page"]
    assert bool([c for c in checks if not c.ok]) is bool(refused)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("", ()),
        ("easel.example", ("easel.example",)),
        (" Easel.Example. , nas.lan:7860;a.b", ("easel.example", "nas.lan", "a.b")),
        ('["x.y", "x.y"]', ("x.y",)),
    ],
)
def test_names_are_read_as_people_write_them(given: str, names: tuple[str, ...]) -> None:
    assert settings_of(hosts=given).hosts == names


@pytest.mark.parametrize("bad", ["https://easel.example", "a b", "*.example", "a/b", "é.example", "-a", "a:x", "u@h"])
def test_what_is_no_name_is_refused(bad: str) -> None:
    with pytest.raises(ValidationError, match="host names"):
        settings_of(hosts=bad)


@pytest.mark.parametrize("bad", ["proxy.lan", "10.0.0.0/33", "10.0.0.0-10.0.0.9", "*"])
def test_what_is_no_network_is_refused(bad: str) -> None:
    with pytest.raises(ValidationError, match="networks"):
        settings_of(trusted_proxies=bad)


def test_a_network_may_have_bits_of_a_host() -> None:
    assert settings_of(trusted_proxies="10.1.2.3/8, ::1").trusted_proxies == ("10.0.0.0/8", "::1/128")


@pytest.mark.parametrize(
    ("given", "link"),
    [
        ({}, ""),
        ({"public_url": "https://a.example/x"}, "https://a.example/x"),
        ({"hosts": "a.example,b.example"}, "http://a.example:7860"),
        ({"hosts": "a.example", **TLS}, "https://a.example:7860"),
        ({"hosts": "a.example", "trusted_proxies": "127.0.0.1"}, "https://a.example"),
    ],
)
def test_links_have_the_public_address(given: dict[str, Any], link: str) -> None:
    assert settings_of(**given).public_link == link
