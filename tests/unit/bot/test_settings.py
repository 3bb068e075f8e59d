"""Settings: lists and paths as people write them, and one sentence for what can't be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.cli.environment import OWN_PROBLEMS
from adapters.discord.settings import DiscordSettings
from adapters.platform import ChatSettings
from adapters.telegram.settings import TelegramSettings
from bot.settings import Settings

CHATS = (DiscordSettings, TelegramSettings)


@pytest.mark.parametrize("kind", CHATS)
@pytest.mark.parametrize(
    ("written", "ids"),
    [
        ("501", ("501",)),
        ("501,502", ("501", "502")),
        (" 501 , 502, ", ("501", "502")),
        ("501 502", ("501", "502")),
        ("501;502，503", ("501", "502", "503")),
        ("[501,502]", ("501", "502")),
        ('["501", "502"]', ("501", "502")),
        ('"501"', ("501",)),
        ("'501,502'", ("501", "502")),
        ("５０１", ("501",)),
        ("\u200e501\u2069", ("501",)),
        ("501,501", ("501",)),
        ("", ()),
        ("[]", ()),
    ],
)
def test_owners_are_ids(
    monkeypatch: pytest.MonkeyPatch, kind: type[ChatSettings], written: str, ids: tuple[str, ...]
) -> None:
    monkeypatch.setenv(kind.variable("owners"), written)
    assert kind.load(None).owners == ids


@pytest.mark.parametrize("kind", CHATS)
@pytest.mark.parametrize(
    "written",
    ["@ada", "Ada", "501,@ada", "501 Ada", "-100501", "0", "5.1", "9" * 26, "[@ada]", "[501", '{"a": 1}', "[[501]]"],
)
def test_an_owner_who_is_no_id_is_refused(
    monkeypatch: pytest.MonkeyPatch, kind: type[ChatSettings], written: str
) -> None:
    monkeypatch.setenv(kind.variable("owners"), written)
    with pytest.raises(ValidationError) as refused:
        kind.load(None)
    (error,) = refused.value.errors()
    assert error["loc"] == ("owners",)
    assert error["type"] in {"owner_ids", "list"}


@given(st.text())
def test_any_owners_are_ids_or_refused(written: str) -> None:
    try:
        found = TelegramSettings(_env_file=None, owners=written).owners
    except ValidationError:
        return
    assert all(owner.isascii() and owner.isdecimal() for owner in found)


def test_a_list_of_labels_may_be_written_in_json() -> None:
    settings = Settings(_env_file=None, moderation_labels='["not safe", "Hentai"]')
    assert settings.moderation_labels == ("not safe", "Hentai")


@pytest.mark.parametrize("name", ["data_dir", "upscaler", "lora_dir", "moderation_model"])
def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    env = tmp_path / ".env"
    env.write_text(f"EASEL_{name.upper()}=~/x/y\n", encoding="utf-8")
    assert getattr(Settings.load(env), name) == tmp_path / "x" / "y"
    env.write_text(f"EASEL_{name.upper()}=~nobody-has-this-name/x\n", encoding="utf-8")
    with pytest.raises(ValidationError) as refused:
        Settings.load(env)
    assert refused.value.errors()[0]["type"] == "no_home"


@pytest.mark.parametrize(
    ("written", "devices"),
    [
        ("auto", ("auto",)),
        ("cuda", ("cuda",)),
        ("cuda:1", ("cuda:1",)),
        ("mps", ("mps",)),
        ("cuda:1, cuda:0", ("cuda:1", "cuda:0")),
        ("cuda,cuda:1", ("cuda:0", "cuda:1")),
        ('["cuda:0","cuda:3"]', ("cuda:0", "cuda:3")),
        ("cpu,cpu", ("cpu", "cpu")),
        ("comfy:http://10.0.0.5:8188", ("comfy:http://10.0.0.5:8188",)),
        ("comfy:https://draw.example/comfy/", ("comfy:https://draw.example/comfy",)),
        ("comfy:http://[fd00::5]:8188,auto", ("auto", "comfy:http://[fd00::5]:8188")),
        (
            "comfy:http://a:1,cuda:1,comfy:http://b:1,cuda",
            ("cuda:1", "cuda:0", "comfy:http://a:1", "comfy:http://b:1"),
        ),
    ],
)
def test_devices_are_one_or_several_of_a_kind(
    monkeypatch: pytest.MonkeyPatch, written: str, devices: tuple[str, ...]
) -> None:
    monkeypatch.setenv("EASEL_DEVICE", written)
    assert Settings.load(None).device == devices


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("", "device"),
        ("gpu", "device"),
        ("cuda:", "device"),
        ("cuda:-1", "device"),
        ("cuda:0,rocm", "device"),
        ("cuda:1,cuda:1", "device_twice"),
        ("cuda,cuda:0", "device_twice"),
        ("cuda:1,cuda:01", "device_twice"),
        ("cuda:0,cpu", "devices_mixed"),
        ("auto,cuda:1", "devices_mixed"),
        ("auto,auto", "devices_mixed"),
        ("mps,mps", "devices_mixed"),
        ("comfy:", "device_comfy"),
        ("comfy:10.0.0.5:8188", "device_comfy"),
        ("comfy:http://user:secret@10.0.0.5:8188", "device_comfy"),
        ("comfy:http://10.0.0.5:8188/?a=b", "device_comfy"),
        ("comfy:ftp://10.0.0.5", "device_comfy"),
        ("comfy:http://a:1,comfy:http://A:1/", "device_twice"),
        ("comfy:http://a:1,cuda:0,cpu", "devices_mixed"),
        ("comfy:http://a:1,gpu", "device"),
    ],
)
def test_devices_that_can_t_draw_together_are_refused(
    monkeypatch: pytest.MonkeyPatch, written: str, problem: str
) -> None:
    monkeypatch.setenv("EASEL_DEVICE", written)
    with pytest.raises(ValidationError) as refused:
        Settings.load(None)
    (error,) = refused.value.errors()
    assert (error["loc"], error["type"]) == (("device",), problem)
    assert problem in OWN_PROBLEMS
