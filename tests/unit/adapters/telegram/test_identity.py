"""Who and where, from Telegram's own objects."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from aiogram.types import Chat, InaccessibleMessage, Message, User

from adapters.telegram.identity import address_near, author_of, locale_of, place_of, ref_of
from bot.core.preferences import Preferences

ANN = User(id=501, is_bot=False, first_name="Ann", last_name="Li", language_code="en")
GROUP = Chat(id=-2001, type="supergroup", title="Painters")
PRIVATE = Chat(id=501, type="private", first_name="Ann")


def message(chat: Chat, user: User | None = ANN, **more: Any) -> Message:
    """A message of somebody's."""
    return Message(message_id=9, date=datetime.now(UTC), chat=chat, from_user=user, text="hi", **more)


@pytest.mark.parametrize(
    ("code", "locale"),
    [("en", "en"), ("zh-hans", "zh_CN"), ("zh-hant", "zh_CN"), ("ZH", "zh_CN"), ("de", "en"), (None, "en"), ("", "en")],
)
def test_languages(code: str | None, locale: str) -> None:
    assert locale_of(User(id=1, is_bot=False, first_name="x", language_code=code), Preferences()) == locale


def test_nobody_speaks_english() -> None:
    assert locale_of(None, Preferences()) == "en"


def test_a_chosen_language_counts_before_the_apps() -> None:
    chosen = Preferences()
    chosen.load({("telegram", "501"): {"language": "zh_CN"}, ("telegram", "-2001"): {"language": "en"}}, {})
    assert locale_of(ANN, chosen) == author_of(message(GROUP), (), chosen).locale == "zh_CN"
    chinese = User(id=1087968824, is_bot=True, first_name="Group", language_code="zh")
    assert author_of(message(GROUP, chinese, sender_chat=GROUP), (), chosen).locale == "en"


def test_a_person_in_private() -> None:
    actor = author_of(message(PRIVATE), {"501"}, Preferences())
    assert (actor.user_id, actor.name, actor.is_owner, actor.is_admin) == ("501", "Ann Li", True, False)
    place = place_of(message(PRIVATE))
    assert (place.guild, place.channel, place.thread) == (None, "501", None)


def test_a_person_in_a_group() -> None:
    actor = author_of(message(GROUP), {"77"}, Preferences())
    assert (actor.user_id, actor.is_owner, actor.is_admin) == ("501", False, False)
    place = place_of(message(GROUP))
    assert (place.guild, place.channel, place.name) == ("-2001", "-2001", "Painters")


def test_an_anonymous_admin_is_the_group_and_an_admin_of_it() -> None:
    shared = User(id=1087968824, is_bot=True, first_name="Group")
    actor = author_of(message(GROUP, shared, sender_chat=GROUP), {"1087968824"}, Preferences())
    assert (actor.user_id, actor.is_admin, actor.is_owner) == ("-2001", True, False)


def test_a_channel_that_writes_in_a_group_is_no_admin() -> None:
    channel = Chat(id=-3001, type="channel", title="News")
    assert not author_of(message(GROUP, None, sender_chat=channel), (), Preferences()).is_admin


def test_topics_of_forums_are_kept_and_reply_threads_are_not() -> None:
    topic = message(GROUP, message_thread_id=5, is_topic_message=True)
    assert place_of(topic).thread == "5"
    assert place_of(message(GROUP, message_thread_id=5)).thread is None


def test_answers_belong_to_what_was_written() -> None:
    here = message(GROUP)
    address = address_near(here, author_of(here, (), Preferences()))
    assert (address.platform, address.chat, address.reply_to, address.message, address.user) == (
        "telegram",
        "-2001",
        "9",
        None,
        "501",
    )


def test_a_message_that_telegram_has_forgotten_still_has_a_place() -> None:
    old = InaccessibleMessage(chat=GROUP, message_id=9, date=0)
    assert place_of(old).channel == "-2001"


def test_one_update_is_one_event() -> None:
    address = address_near(message(PRIVATE), author_of(message(PRIVATE), (), Preferences()))
    assert ref_of(1001, address).event == "telegram:update:1001"
    assert ref_of(1001, address, "private").event == "telegram:update:1001:private"
    assert not ref_of(1001, address).answered
