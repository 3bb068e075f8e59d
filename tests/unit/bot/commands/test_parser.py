"""Typed commands: each line is read by the table, or refused with how to write it."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.cards import i18n
from bot.commands import parser
from bot.commands.model import NO, YES, ArgType, Command
from bot.core.errors import BadInput
from bot.core.texts import MAX_INT
from bot.features import COMMANDS

BY_NAME = COMMANDS.by_name


def read(line: str, near: dict[str, str] | None = None) -> tuple[str, dict[str, str]]:
    """What a line means: the command's name, and its arguments."""
    word, _, rest = line.partition(" ")
    command, left = parser.find(COMMANDS, word, rest)
    return command.name, parser.parse(command, left, near or {})


def refused(line: str, locale: str = "en") -> str:
    with pytest.raises(BadInput) as caught:
        read(line)
    return i18n.text(locale, caught.value.key, **caught.value.params)


@pytest.mark.parametrize(
    ("line", "args"),
    [
        ("quota set 20/day", {"rule": "20/day"}),
        ("quota set 20/day at-once 2", {"rule": "20/day at-once 2"}),
        ("quota set role=77 50/day", {"role": "77", "rule": "50/day"}),
        ("quota set @ada_l 5/day", {"person": "@ada_l", "rule": "5/day"}),
        ("quota set 123456789 5/day", {"person": "123456789", "rule": "5/day"}),
        ("quota set telegram:12 5/day", {"person": "telegram:12", "rule": "5/day"}),
        ("quota set here 5/day", {"channel": "here", "rule": "5/day"}),
        ("quota set 这里 每天 5 张", {"channel": "here", "rule": "每天 5 张"}),
        ("quota set -1001234567 5/day", {"channel": "-1001234567", "rule": "5/day"}),
        (
            "quota set role=7 @ada here unlimited",
            {"role": "7", "person": "@ada", "channel": "here", "rule": "unlimited"},
        ),
        ("quota reset", {}),
        ("quota reset @ada", {"person": "@ada"}),
        ("quota show", {}),
        ("quota why @ada", {"person": "@ada"}),
        ("quota grant @ada 10", {"person": "@ada", "number": "10"}),
        ("quota grant @ada １０ 3 days", {"person": "@ada", "number": "10", "span": "3 days"}),
        ("quota lend 12345 2 12h", {"person": "12345", "number": "2", "span": "12h"}),
        ("quota grant number=3 @ada", {"person": "@ada", "number": "3"}),
        ("easel preset club", {"preset": "club"}),
        ("easel preset 暂停", {"preset": "paused"}),
        ("owner service 暂停", {"state": "pause"}),
        ("easel preset CLUB", {"preset": "club"}),
        ("easel log", {}),
        ("easel log here", {"channel": "here"}),
        ("easel log 关闭", {"level": "off"}),
        ("easel keep 90 days", {"span": "90 days"}),
        ("easel keep 90天", {"span": "90天"}),
        ("easel keep forever", {"span": "forever"}),
        ("easel keep off", {"span": "off"}),
        ('easel keep span="2 weeks"', {"span": "2 weeks"}),
        ("easel ban @ada 1 day 12h spam", {"person": "@ada", "span": "1 day 12h", "reason": "spam"}),
        ("easel ban @ada off topic", {"person": "@ada", "reason": "off topic"}),
        ("easel ban @ada 永久 spam", {"person": "@ada", "span": "永久", "reason": "spam"}),
        ("easel ban @ada", {"person": "@ada"}),
        ("easel ban @ada 2 weeks", {"person": "@ada", "span": "2 weeks"}),
        ("easel ban @ada 3d too  many", {"person": "@ada", "span": "3d", "reason": "too  many"}),
        ("easel ban @ada 3 rude words", {"person": "@ada", "reason": "3 rude words"}),
        ("easel ban @ada spam", {"person": "@ada", "reason": "spam"}),
        ("easel undo #12", {"number": "12"}),
        ('easel timezone "New York"', {"zone": "New York"}),
        ("easel timezone 「Asia/Shanghai」", {"zone": "Asia/Shanghai"}),
        ("owner allow 3 5/day", {"number": "3", "rule": "5/day"}),
        ("claim ABCD-1234", {"code": "ABCD-1234"}),
        ('search red "blue sky"', {"words": 'red "blue sky"'}),
        ("forget", {}),
    ],
)
def test_what_a_line_means(line: str, args: dict[str, str]) -> None:
    name, found = read(line)
    assert line.startswith(name)
    assert found == args


@pytest.mark.parametrize(
    ("line", "english", "chinese"),
    [
        ("easel bann @ada", "did you mean /easel ban?", "/easel ban"),
        ("quota 20/day", "There is no /quota 20/day", "/quota"),
        (
            "quota set",
            "RULE is missing; write it like this: /quota set [role=ROLE] [PERSON] [CHANNEL] RULE",
            "缺少规则",
        ),
        ("quota grant", "PERSON is missing", "/quota grant 成员 数字 [时长]"),
        ("quota grant @ada", "NUMBER is missing", "缺少数字"),
        ("quota grant @ada lots", "“lots” can't be read as the NUMBER", "“lots”不能当作数字"),
        ("quota grant ada 5", "“ada” can't be read as the PERSON", "“ada”不能当作成员"),
        ("quota grant @ada 5 soon", "“soon” can't be read as the TIME", "“soon”不能当作时长"),
        ("quota grant @ada 5 3 days more", "“more” is more than this takes", "多出了“more”"),
        ("easel preset clib", "did you mean club?", "club"),
        ("easel preset", "PRESET is missing; write it like this: /easel preset open|club|strict|paused", "预设"),
        ("easel pause now", "“now” is more than this takes", "/easel pause"),
        ("easel unban", "PERSON is missing", "缺少成员"),
        ("easel keep ninety", "“ninety” can't be read as the TIME", "时长"),
        ("easel undo 99999999999999999999999999", "can't be read as the NUMBER", "数字"),
        ("again -9999999999999999999", "can't be read as the NUMBER", "数字"),
        ("easel log -99999999999999999999", "-99999999999999999999", "-99999999999999999999"),
        ("easel undo twelve", "“twelve”", "“twelve”"),
        ("search", "WORDS is missing", "缺少词语"),
    ],
)
def test_what_is_wrong_is_said_with_how_to_write_it(line: str, english: str, chinese: str) -> None:
    assert english in refused(line)
    assert chinese in refused(line, "zh_CN")


@pytest.mark.parametrize("span", ["99999999d", "99999999999999999999 days", "0d", "0 days"])
def test_a_length_that_is_out_of_range_is_no_reason(span: str) -> None:
    # Where it is used, it is refused with its own sentence.
    assert read(f"easel ban @ada {span}") == ("easel ban", {"person": "@ada", "span": span})


@given(st.integers(-(10**30), 10**30))
def test_a_number_is_read_within_64_bits_or_refused(number: int) -> None:
    line = f"easel undo {number}"
    if abs(number) <= MAX_INT:
        assert read(line) == ("easel undo", {"number": str(number)})
    else:
        assert str(number)[:20] in refused(line)


def test_a_command_alone_shows_what_holds() -> None:
    assert read("quota") == ("quota show", {})
    assert read("easel ") == ("easel limits", {})
    assert read("quota SET 2/day") == ("quota set", {"rule": "2/day"})


def test_the_answered_person_is_meant_unless_another_is_named() -> None:
    assert read("easel ban 3 days", {"person": "55555"}) == ("easel ban", {"person": "55555", "span": "3 days"})
    assert read("easel ban @bob", {"person": "55555"}) == ("easel ban", {"person": "@bob"})


def line_of(command: Command) -> st.SearchStrategy[dict[str, str]]:
    """Arguments as people might give them."""
    words = st.text(string.ascii_lowercase, min_size=1, max_size=8)
    values = {
        ArgType.TEXT: words.map(lambda word: f"x {word}"),
        ArgType.WORD: words,
        ArgType.PERSON: words.map(lambda word: f"@{word}_"),
        **dict.fromkeys((ArgType.ROLE, ArgType.PICTURE), st.integers(1, 9999).map(str)),
        ArgType.CHANNEL: st.integers(10**9, 10**12).map(lambda number: f"-{number}"),
        ArgType.SPAN: st.integers(1, 99).map(lambda number: f"{number} days"),
        **dict.fromkeys((ArgType.WHOLE, ArgType.COUNT, ArgType.JOB), st.integers(0, 9999).map(str)),
        ArgType.DECIMAL: st.integers(0, 99).map(lambda number: f"{number / 10:g}"),
        ArgType.SWITCH: st.sampled_from((YES, NO)),
        **dict.fromkeys((ArgType.MODEL, ArgType.STYLE, ArgType.LORA, ArgType.SIZE), words),
        ArgType.PROMPT: words.map(lambda word: f"{word} size=3:4 --seed 7"),
    }
    given = {arg.name: st.sampled_from(arg.choices) if arg.choices else values[arg.type] for arg in command.args}
    required = {arg.name: given[arg.name] for arg in command.args if arg.required}
    return st.fixed_dictionaries(required, optional={name: given[name] for name in given if name not in required})


@pytest.mark.parametrize("name", sorted(BY_NAME))
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_every_command_is_parsed_as_written(name: str, data: st.DataObject) -> None:
    command = BY_NAME[name]
    args = data.draw(line_of(command))
    if command.prompted:
        args = {command.args[0].name: args[command.args[0].name]}
    # Pictures are sent along, never typed.
    args = {arg.name: args[arg.name] for arg in command.args if arg.name in args and arg.type is not ArgType.PICTURE}
    typed_args = [
        f"{arg.name}={args[arg.name]}" if arg.type is ArgType.ROLE or arg.named else args[arg.name]
        for arg in command.args
        if arg.name in args
    ]
    assert read(" ".join([name, *typed_args])) == (name, args)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(BY_NAME)), st.text(max_size=40))
def test_whatever_is_typed_is_read_or_refused(name: str, rest: str) -> None:
    said: list[str] = []
    try:
        read(f"{name} {rest}")
    except BadInput as refusal:
        said = [i18n.text(locale, refusal.key, **refusal.params) for locale in i18n.LOCALES]
    assert all(said)
