"""Messages: the right language, the right plural, and what people typed left as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.cards.i18n import LOCALES, known, locale_of, own_key, text
from bot.core.errors import Key
from bot.core.texts import shown


@pytest.mark.parametrize(
    ("tag", "locale"),
    [
        ("en", "en"),
        ("en-GB", "en"),
        ("zh-CN", "zh_CN"),
        ("zh_Hans_CN", "zh_CN"),
        ("zh-TW", "zh_CN"),
        ("ZH", "zh_CN"),
        ("de", "en"),
        ("", "en"),
        (None, "en"),
        ("zhx", "en"),
    ],
)
def test_any_tag_is_mapped_to_a_language_that_easel_speaks(tag: str | None, locale: str) -> None:
    assert locale_of(tag) == locale


def test_the_persons_language_is_spoken() -> None:
    assert text("en", "button.cancel") == "Cancel"
    assert text("zh-Hans", "button.cancel") == "取消"


def test_a_surface_may_have_its_own_wording() -> None:
    assert own_key("cli", "refusal.lora.unknown") == "refusal.lora.unknown.cli"
    assert own_key("telegram", "refusal.lora.unknown") == own_key("", "refusal.lora.unknown") == "refusal.lora.unknown"


def test_n_chooses_the_plural() -> None:
    assert text("en", "card.done", n=1) == "Done: 1 picture."
    assert text("en", "card.done", n=0) == "Done: 0 pictures."
    assert text("en", "card.done", n=2) == "Done: 2 pictures."
    assert text("zh_CN", "card.done", n=1) == "画好了，共 1 张。"


def test_a_message_without_plural_takes_n_too() -> None:
    assert text("en", "card.cancelled", n=1) == text("en", "card.cancelled")


def test_keys_in_values_are_translated() -> None:
    said = text("zh_CN", "quota.limit", n=5, window=Key("window.day"))
    assert said == "每天 5 张"


def test_a_wait_is_spoken() -> None:
    assert text("en", "quota.returns", n=1, wait=3 * 3600.0) == "1 picture in 3 hours"
    assert text("zh_CN", "quota.returns", n=1, wait=90) == "2 分钟后恢复 1 张"


@given(st.text() | st.sampled_from(["window.day", "@refusal.prompt.empty", "@everyone", "@@", "{limit}", "%s"]))
def test_what_people_typed_is_never_read_as_a_key_or_a_field(typed: str) -> None:
    said = text("en", "refusal.model.unknown", value=shown(typed), known="demo")
    assert said == f"There is no model “{shown(typed)}”; this Easel has demo."


def test_keys_are_known_or_not() -> None:
    assert known("card.done")
    assert not known("")
    assert not known("card")


def test_all_languages_are_loaded() -> None:
    assert all(text(locale, "help.title") != "help.title" for locale in LOCALES)
