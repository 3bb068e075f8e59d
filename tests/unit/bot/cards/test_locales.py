"""Both catalogues say everything that the code asks them to say, with the same fields, and say it in their language."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.catalog import Message

from bot.cards import i18n
from bot.core import errors
from bot.core.jobs import JobState
from bot.core.quotas import Dimension, Window
from bot.drawing.job_actions import OTHER_DEVICE, OTHER_PRECISION, OTHER_REVISION, OTHER_SETUP
from bot.features import COMMANDS
from engine.contract import ERRORS, MASK_ZOOMED, PROMPT_CUT, SAFER, LicenceTerm

ROOT = Path(__file__).parents[4]
REFUSALS = {n for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, errors.Refusal)}
# The first words of the core's own keys: a literal of this shape is a key.
AREAS = (
    "button",
    "card",
    "duration",
    "error",
    "fact",
    "help",
    "history",
    "note",
    "quota",
    "refusal",
    "state",
    "summary",
    "unavailable",
    "window",
)
KEY = re.compile(rf"({'|'.join(AREAS)})(\.[a-z][a-z0-9_]*)+")
# Keys that the code puts together from a part that varies.
BUILT = {
    *(f"button.{action}" for action in COMMANDS.by_action),
    *(f"state.{state}" for state in JobState),
    *(f"window.{window}" for window in Window),
    *(f"error.engine.{code}" for code in ERRORS),
    *(f"card.queued.{place}{eta}" for place in ("next", "position") for eta in ("", "_eta")),
    *(f"refusal.quota.{what}{where}" for what in ("left", "used_up", "too_many", "closed") for where in ("", "_here")),
    *(f"refusal.quota.points_{what}{where}" for what in ("left", "too_many") for where in ("", "_here")),
    *(f"quota.any.{dimension}" for dimension in Dimension),
    *(f"button.{action}_of" for action, button in COMMANDS.job_buttons.items() if button.row is not None),
    *(
        f"refusal.{what}.{why}"
        for what in ("image", "mask", "references")
        for why in ("unreadable", "damaged", "too_large", "format")
    ),
    *(
        f"note.engine.{code}"
        for code in (PROMPT_CUT, MASK_ZOOMED, SAFER, OTHER_REVISION, OTHER_SETUP, OTHER_PRECISION, OTHER_DEVICE)
    ),
    *(f"refusal.lora.{what}.{surface}" for what in ("unknown", "none_near") for surface in ("cli", "web")),
    *(f"licence.{term}" for term in LicenceTerm),
    *(f"quota.{what}_{where}" for what in ("counted", "used") for where in ("here", "everywhere")),
}


@cache
def messages(locale: str) -> dict[str, Message]:
    return {str(key_of(m)): m for m in i18n.catalogue(locale) if m.id}


def key_of(message: Message) -> str:
    return str(message.id[0]) if isinstance(message.id, list | tuple) else str(message.id)


def texts(message: Message) -> tuple[str, ...]:
    return tuple(message.string) if isinstance(message.string, list | tuple) else (str(message.string),)


def fields(message: Message) -> set[str]:
    return {name for text in texts(message) for _, name, _, _ in Formatter().parse(text) if name is not None}


Said = tuple[str, str, set[str] | None]
"""Where, which key, and the fields that it is given (None: not known here)."""


@cache
def scanned() -> tuple[Sequence[Said], Sequence[tuple[str, str]]]:
    """Return what the sources say, and all their literals with their files. Parsing them takes a second."""
    found: list[Said] = []
    written: list[tuple[str, str]] = []
    for folder in ("bot", "adapters"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree, name = ast.parse(path.read_text(encoding="utf-8")), str(path.relative_to(ROOT))
            found += said_in(name, tree)
            written += ((name, literal) for literal in literals(tree))
    return found, written


def said() -> Sequence[Said]:
    return scanned()[0]


def name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def keys_in(argument: ast.expr) -> list[str]:
    """The keys that an argument may be: a literal, or either side of a choice."""
    if isinstance(argument, ast.IfExp):
        return keys_in(argument.body) + keys_in(argument.orelse)
    return [argument.value] if isinstance(argument, ast.Constant) and isinstance(argument.value, str) else []


def literals(tree: ast.Module) -> Iterator[str]:
    """All whole string literals, without the @ of keys in values; parts of f-strings are none."""
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value.removeprefix("@")


def said_in(file: str, tree: ast.Module) -> Iterator[Said]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        arguments = (
            node.args[:1] if name in REFUSALS or name == "CatalogueMessage" else node.args[:2] if name == "text" else []
        )
        given = {k.arg for k in node.keywords if k.arg is not None}
        spread = any(k.arg is None for k in node.keywords)
        for key in (key for argument in arguments for key in keys_in(argument) if "." in key):
            yield f"{file}:{node.lineno}", key, None if spread else given


def test_the_code_says_something() -> None:
    # The scan finds what it looks for; without this the tests below could pass over nothing.
    found = {key for _, key, _ in said()}
    assert {"refusal.prompt.empty", "refusal.size.off_grid", "card.done"} <= found


def test_every_message_that_is_said_stands_in_both_catalogues() -> None:
    missing = [
        f"{where} {key} ({locale})"
        for where, key, _ in said()
        for locale in i18n.LOCALES
        if key not in messages(locale)
    ]
    assert missing == []


def test_every_field_of_a_message_is_given_where_it_is_said() -> None:
    lacking = [
        f"{where} {key}: {', '.join(sorted(fields(messages(locale)[key]) - given))}"
        for where, key, given in said()
        for locale in i18n.LOCALES
        if given is not None and key in messages(locale) and not fields(messages(locale)[key]) <= given
    ]
    assert lacking == []


def test_every_literal_that_looks_like_a_key_is_one() -> None:
    unknown = [
        f"{file} {literal}"
        for file, literal in scanned()[1]
        if KEY.fullmatch(literal) and literal not in messages("en")
    ]
    assert unknown == []


@pytest.mark.parametrize("key", sorted(BUILT))
def test_every_key_that_is_put_together_is_one(key: str) -> None:
    assert all(key in messages(locale) for locale in i18n.LOCALES)


def test_no_message_of_the_core_is_said_nowhere() -> None:
    used = {literal for _, literal in scanned()[1]}
    assert {key for key in messages("en") if KEY.fullmatch(key)} - used - BUILT == set()


def test_the_catalogues_have_the_same_messages() -> None:
    assert messages("en").keys() == messages("zh_CN").keys()
    for key, message in messages("en").items():
        assert message.pluralizable == messages("zh_CN")[key].pluralizable, key


def test_the_catalogues_have_the_same_fields() -> None:
    different = {key for key, message in messages("en").items() if fields(message) != fields(messages("zh_CN")[key])}
    assert different == set()


@pytest.mark.parametrize("locale", i18n.LOCALES)
def test_every_message_is_translated(locale: str) -> None:
    forms = i18n.catalogue(locale).num_plurals
    for key, message in messages(locale).items():
        assert not message.fuzzy, key
        assert all(text.strip() for text in texts(message)), key
        assert len(texts(message)) == (forms if message.pluralizable else 1), key


@pytest.mark.parametrize("locale", i18n.LOCALES)
def test_no_message_stands_twice(locale: str) -> None:
    path = ROOT / "bot" / "cards" / "locales" / locale / "LC_MESSAGES" / "easel.po"
    ids = re.findall(r'^msgid "(.+)"$', path.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(ids) == len(set(ids)) == len(messages(locale))


def test_plural_forms_are_those_of_the_languages() -> None:
    assert (i18n.catalogue("en").num_plurals, i18n.catalogue("zh_CN").num_plurals) == (2, 1)
    assert i18n.catalogue("en").plural_expr == "(n != 1)"


def test_fields_are_plain_names() -> None:
    # A format or an attribute in a message would let it fail, or look into objects.
    for locale in i18n.LOCALES:
        for key, message in messages(locale).items():
            for text in texts(message):
                for _, name, spec, conversion in Formatter().parse(text):
                    assert name is None or (name.isidentifier() and not spec and conversion is None), key


HAN = re.compile(r"[\u4e00-\u9fff]")
HALF_WIDTH = re.compile(r"[\u4e00-\u9fff][,;?!]|[,;?!][\u4e00-\u9fff]")


def test_chinese_is_chinese_with_its_own_punctuation() -> None:
    for key, message in messages("zh_CN").items():
        if not key.startswith(("refusal.", "card.", "note.", "error.", "unavailable.")):
            continue
        for text in texts(message):
            assert HAN.search(text), key
            assert not HALF_WIDTH.search(text), key
            assert text.endswith(("。", "？", "}")), key


def test_everybody_is_addressed_alike() -> None:
    assert not any("您" in text for message in messages("zh_CN").values() for text in texts(message))


def test_english_sentences_end_as_sentences() -> None:
    for key, message in messages("en").items():
        if key.startswith(("refusal.", "card.", "note.", "error.", "unavailable.")):
            assert not any(HAN.search(text) for text in texts(message)), key
            assert all(text.endswith((".", "?", "}")) for text in texts(message)), key
