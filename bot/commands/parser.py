"""The parser of typed commands: which command a line means, and its arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from bot.commands.model import HERE, NO, YES, Arg, ArgType, Command, Invocation
from bot.commands.registry import Registry
from bot.core.durations import is_for_good, is_span
from bot.core.errors import BadInput, Key, NotFound
from bot.core.texts import bounded, clean, decimal, fold, nearest, shown

_HERE = {"here", "这里", "此处", "本群", "本频道"}
_SWITCHES: Mapping[str, str] = {
    **dict.fromkeys(("yes", "on", "true", "1", "是", "开", "开启"), YES),
    **dict.fromkeys(("no", "off", "false", "0", "否", "关", "关闭"), NO),
}
# What people type in Chinese for a choice; several where commands differ in the word for the same thing.
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "开放": ("open",),
    "俱乐部": ("club",),
    "社团": ("club",),
    "严格": ("strict",),
    "暂停": ("paused", "pause"),
    "关闭": ("off",),
    "关": ("off",),
    "提醒": ("warn",),
    "警告": ("warn",),
    "拒绝": ("refuse",),
    "遮盖": ("spoiler",),
    "剧透": ("spoiler",),
    "运行": ("run",),
    "排空": ("drain",),
    "zh": ("zh_cn",),
    "chinese": ("zh_cn",),
    "中文": ("zh_cn",),
    "english": ("en",),
    "英文": ("en",),
    "频道": ("channel",),
    "所有人": ("everyone",),
    "管理员": ("admins",),
    "公开": ("public",),
    "从不": ("never",),
    "总是": ("always",),
}
# The owners' verbs were subcommands of ``easel`` before.
_MOVED = frozenset({"easel service", "easel waiting", "easel allow", "easel refuse"})
_CLOSERS = {'"': '"”', "“": '”"', "”": '”"', "「": "」", "『": "』"}
_WORD = re.compile(r"\S+")
_NAMED = re.compile(r"([A-Za-z]+)[=＝](?=\S)")
_NAMED_BEFORE = re.compile(r"([A-Za-z]+)\s+(?=\S)")
# Ids of people are long, so that no number of pictures looks like one.
_PERSON = re.compile(r"@\w{2,64}|[0-9]{5,20}|[a-z]{2,16}:-?\w{1,64}", re.ASCII | re.IGNORECASE)
_SPAN_WORDS = 4
_REST = frozenset({ArgType.TEXT, ArgType.PROMPT})
_TAKEN = frozenset({ArgType.ROLE, ArgType.WORD, ArgType.PERSON})
_CHAT = re.compile(r"-[0-9]{1,20}|[0-9]{5,20}", re.ASCII)


def find(commands: Registry, command: str, typed: str) -> tuple[Command, str]:
    """Return the command that a line means, and the rest of the line.

    Args:
        commands: All commands.
        command: The first word, without its slash: ``quota``, ``export``.
        typed: The text after it.

    Raises:
        BadInput: It has no such subcommand; the nearest one is named.
    """
    if command in commands.by_name:
        return commands.by_name[command], typed.strip()
    typed = clean(typed)
    head = _WORD.match(typed)
    if head is None:
        return commands.defaults[command], ""
    sub = fold(head[0])
    if f"{command} {sub}" in _MOVED:
        command = "owner"
    if f"{command} {sub}" in commands.by_name:
        return commands.by_name[f"{command} {sub}"], typed[head.end() :].strip()
    known = tuple(name.partition(" ")[2] for name in commands.by_name if name.startswith(f"{command} "))
    unknown, near = shown(f"/{command} {sub}"), nearest(sub, known)
    if near is None:
        raise BadInput("refusal.command.none_near", typed=unknown, command=f"/{command}", known=", ".join(known))
    raise BadInput("refusal.command.unknown", typed=unknown, nearest=f"/{command} {near}")


def parse(command: Command, typed: str, near: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Return the command's arguments as they were typed, by their names.

    Arguments come in the command's order; one that is optional may be left out, and ``name=value`` gives any by its name.
    A role must be named: its id can't be told from other words.

    Args:
        command: The command.
        typed: The text after its name.
        near: Values of arguments that are not typed, such as the person whose message is answered.

    Raises:
        BadInput: An argument is missing, unknown or superfluous; the refusal gives the usage.
    """
    line = _Line(clean(typed))
    found: dict[str, str] = {}
    if command.prompted and line.rest:
        return {arg.name: near[arg.name] for arg in command.args if arg.name in near} | {
            command.args[0].name: line.rest
        }
    for arg in command.args:
        found |= _named(command, line)
        if arg.name in found:
            continue
        value = line.rest if arg.type in _REST else "" if arg.named else _READ[arg.type](arg, line)
        if value:
            found[arg.name] = value
            if arg.type in _REST:
                line.rest = ""
        elif arg.name in near:
            found[arg.name] = near[arg.name]
        elif arg.required:
            raise _wrong(command, arg, line)
    found |= _named(command, line)
    if line.rest:
        left_out = [arg for arg in command.args if arg.name not in found and not _is_named(arg)]
        if left_out:
            raise _wrong(command, left_out[0], line)
        raise BadInput("refusal.command.more", value=shown(line.rest), usage=usage(command))
    return found


def number_of(command: Command, args: Mapping[str, str], name: str) -> int:
    """Return an argument that is a whole number, a signed 64-bit integer.

    Raises:
        BadInput: It is no number, or out of range; the refusal gives the usage.
    """
    number = _number(args[name])
    if number is None:
        raise BadInput(
            "refusal.command.value", value=shown(args[name]), argument=Key(f"argument.{name}"), usage=usage(command)
        )
    return number


def job_number(invocation: Invocation) -> int:
    """Return the number of the job that a command is about. Raises NotFound where no job can have the typed number."""
    if invocation.press is not None:
        return invocation.press.job_id
    number = _number(invocation.args["number"])
    if number is None:
        raise NotFound("refusal.job.not_found")
    return number


def usage(command: Command) -> str:
    """Return the usage of a command; ``<name>`` stands for an argument's name in the person's language."""
    return " ".join([f"/{command.name}", *(_shape(arg) for arg in command.args)])


def _shape(arg: Arg) -> str:
    if arg.type is ArgType.CHOICE:
        shape = "|".join(arg.choices)
    elif _is_named(arg):
        shape = f"{arg.name}=<{arg.name}>"
    else:
        shape = f"<{arg.name}>"
    return shape if arg.required else f"[{shape}]"


def _is_named(arg: Arg) -> bool:
    return arg.named or arg.type is ArgType.ROLE


def _wrong(command: Command, arg: Arg, line: _Line) -> BadInput:
    if not line.rest:
        return BadInput("refusal.command.missing", argument=Key(f"argument.{arg.name}"), usage=usage(command))
    value = shown(line.word() or line.rest)
    if arg.type is ArgType.CHOICE:
        near = nearest(fold(value), arg.choices)
        if near is None:
            return BadInput("refusal.command.no_choice", value=value, usage=usage(command))
        return BadInput("refusal.command.choice", value=value, nearest=near, usage=usage(command))
    return BadInput("refusal.command.value", value=value, argument=Key(f"argument.{arg.name}"), usage=usage(command))


class _Line:
    """The rest of a line."""

    def __init__(self, text: str) -> None:
        self.rest = text

    def word(self) -> str:
        """Return the next word, or the text in quotation marks; empty at the end."""
        return self._next()[0]

    def take(self) -> str:
        """Return the next word and remove it from the line."""
        word, end = self._next()
        self.rest = self.rest[end:].lstrip()
        return word

    def _next(self) -> tuple[str, int]:
        closers = _CLOSERS.get(self.rest[:1], "")
        for index in range(1, len(self.rest) if closers else 0):
            if self.rest[index] in closers:
                return self.rest[1:index].strip(), index + 1
        head = _WORD.match(self.rest)
        return (head[0], head.end()) if head else ("", 0)


def _named(command: Command, line: _Line) -> dict[str, str]:
    """Take the ``name=value`` words that come next."""
    args = {arg.name: arg for arg in command.args if arg.type not in _REST}
    found: dict[str, str] = {}
    while (head := _NAMED.match(line.rest) or _NAMED_BEFORE.match(line.rest)) is not None:
        arg = args.get(head[1].lower())
        if arg is None or not (arg.named or head.re is _NAMED):
            break
        line.rest = line.rest[head.end() :]
        value = line.take() if arg.type in _TAKEN else _READ[arg.type](arg, line)
        if not value:
            raise _wrong(command, arg, line)
        found[arg.name] = _here(value) if arg.type is ArgType.CHANNEL else value
    return found


def _word(_: Arg, line: _Line) -> str:
    return line.take()


def _nothing(_arg: Arg, _line: _Line) -> str:
    return ""


def _choice(arg: Arg, line: _Line) -> str:
    word = fold(line.word())
    value = next((choice for choice in (word, *_CHOICES.get(word, ())) if choice in arg.choices), "")
    if value:
        line.take()
    return value


def _person(_: Arg, line: _Line) -> str:
    return line.take() if _PERSON.fullmatch(line.word()) else ""


def _channel(_: Arg, line: _Line) -> str:
    word = line.word()
    is_id = _CHAT.fullmatch(word) is not None and bounded(word) is not None
    return _here(line.take()) if is_id or fold(word) in _HERE else ""


def _here(value: str) -> str:
    return HERE if fold(value) in _HERE else value


def _whole(_: Arg, line: _Line) -> str:
    number = _number(line.word())
    if number is None:
        return ""
    line.take()
    return str(number)


def _decimal(_: Arg, line: _Line) -> str:
    return "" if decimal(line.word()) is None else line.take()


def _switch(_: Arg, line: _Line) -> str:
    value = _SWITCHES.get(fold(line.word()), "")
    if value:
        line.take()
    return value


def _number(typed: str) -> int | None:
    return bounded(typed.strip().removeprefix("#"))


def _span(_: Arg, line: _Line) -> str:
    # The longest first: "1 day 12h" before "1 day", "3 days" before "3d".
    rest = line.rest
    starts: list[tuple[str, str]] = []
    while line.rest and len(starts) < _SPAN_WORDS:
        word = line.take()
        starts.append((f"{starts[-1][0]} {word}" if starts else word, line.rest))
    for typed, left in reversed(starts):
        if _is_span(typed, last=not left):
            line.rest = left
            return typed
    line.rest = rest
    return ""


def _is_span(typed: str, *, last: bool) -> bool:
    if is_for_good(typed):
        # "off topic" is a reason.
        return last or fold(typed) not in {"off", "关闭"}
    # One that is too long or nothing is refused where it is used: it is no reason and no rule.
    return is_span(typed)


_READ: Mapping[ArgType, Callable[[Arg, _Line], str]] = {
    ArgType.WORD: _word,
    ArgType.CHOICE: _choice,
    ArgType.PERSON: _person,
    ArgType.ROLE: _nothing,
    ArgType.PICTURE: _nothing,
    ArgType.CHANNEL: _channel,
    ArgType.WHOLE: _whole,
    ArgType.DECIMAL: _decimal,
    ArgType.SWITCH: _switch,
    ArgType.SPAN: _span,
    ArgType.COUNT: _whole,
    ArgType.MODEL: _word,
    ArgType.STYLE: _word,
    ArgType.LORA: _word,
    ArgType.SIZE: _word,
    ArgType.JOB: _whole,
}
