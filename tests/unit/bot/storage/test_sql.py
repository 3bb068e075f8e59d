"""Rows and dataclasses: by column name, with nested dataclasses, converters and expressions."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import aiosqlite
import pytest

import bot
from bot.storage.sql import JSON, Converter, RowMapper


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Size:
    width: int
    height: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    size: Size
    open: bool = False


@dataclass(frozen=True, slots=True)
class Thing:
    id: int
    box: Box
    colour: Colour
    tags: tuple[str, ...]
    index: int | None = None
    value: object = None


THINGS = RowMapper(Thing, "things", columns={"id": "number"}, converters={"value": JSON})
ONE = Thing(7, Box(size=Size(3, 4), open=True), Colour.BLUE, ("a", "é"), 5, {"deep": [1]})
OTHER = Thing(8, Box(size=Size(1)), Colour.RED, ())


@pytest.fixture
async def tx() -> AsyncIterator[aiosqlite.Connection]:
    async with aiosqlite.connect(":memory:") as connection:
        await connection.execute(
            'CREATE TABLE things ("index" INTEGER, value TEXT, tags TEXT NOT NULL, colour TEXT NOT NULL, height INTEGER,'
            " width INTEGER, open INTEGER, number INTEGER PRIMARY KEY)"
        )
        yield connection


async def test_what_is_written_is_read_back(tx: aiosqlite.Connection) -> None:
    for thing in (ONE, OTHER):
        await THINGS.insert(tx, thing)
    assert await THINGS.select(tx, "ORDER BY number") == (ONE, OTHER)
    assert await THINGS.select_one(tx, "WHERE number = ?", (8,)) == OTHER
    assert await THINGS.select_one(tx, "WHERE number = ?", (9,)) is None


def test_the_columns_are_the_fields_of_the_dataclass_and_of_those_inside() -> None:
    assert THINGS.columns == 'number, width, height, open, colour, tags, "index", value'
    assert THINGS.qualified("t").startswith("t.number, t.width")
    assert ', t."index",' in THINGS.qualified("t")
    assert THINGS.write(ONE) == (7, 3, 4, 1, "blue", '["a", "\\u00e9"]', 5, '{"deep": [1]}')


async def test_a_clause_may_replace_and_return(tx: aiosqlite.Connection) -> None:
    await THINGS.insert(tx, ONE)
    changed = Thing(7, Box(size=Size(9, 9)), Colour.RED, ("b",))
    clause = f"ON CONFLICT (number) DO UPDATE SET {THINGS.excluded('id', 'tags')} RETURNING {THINGS.columns}"
    (row,) = await THINGS.insert(tx, changed, clause)
    assert THINGS.read(row) == Thing(7, changed.box, Colour.RED, ONE.tags)


async def test_a_field_may_be_an_expression_or_have_no_column(tx: aiosqlite.Connection) -> None:
    @dataclass(frozen=True)
    class Sum:
        colour: Colour
        area: int
        note: str = field(default="-", kw_only=True)

    sums = RowMapper(Sum, "things", columns={"area": "sum(width * height)"}, omit={"note"})
    for thing in (ONE, OTHER):
        await THINGS.insert(tx, thing)
    assert await sums.select(tx, "GROUP BY colour HAVING area > 5") == (Sum(Colour.BLUE, 12),)


async def test_a_converter_sees_each_value(tx: aiosqlite.Connection) -> None:
    def read(text: str) -> Colour:
        raise ValueError(f"no colour: {text}")

    mapper = RowMapper(
        Thing, "things", columns={"id": "number"}, converters={"colour": Converter(read, str), "value": JSON}
    )
    await THINGS.insert(tx, ONE)
    with pytest.raises(ValueError, match="no colour: blue"):
        await mapper.select(tx, "")


def test_a_field_that_can_not_be_stored_is_refused() -> None:
    with pytest.raises(TypeError, match="the field value"):
        RowMapper(Thing)
    with pytest.raises(TypeError, match="Thing has no field colur"):
        RowMapper(Thing, columns={"colur": "colour"}, converters={"value": JSON})


def _positional(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that decode a row of more than two columns by position."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=ast.Name(id="row"), slice=ast.Constant(value=int(index))) if index > 1:
                yield node.lineno
            case ast.Starred(value=ast.Name(id="row") | ast.Subscript(value=ast.Name(id="row")), ctx=ast.Load()):
                yield node.lineno
            case (
                ast.For(target=ast.Tuple(elts=names), iter=source)
                | ast.comprehension(target=ast.Tuple(elts=names), iter=source)
            ) if len(names) > 2 and ("execute" in (text := ast.unparse(source)) or text == "rows"):
                yield names[0].lineno
            case _:
                pass


def test_the_guard_sees_what_it_forbids() -> None:
    for source in ("x = row[2]", "X(*row)", "X(*row[1:])", "for a, b, c in rows: pass", "[a for a, b, c in rows]"):
        assert list(_positional(ast.parse(source))), source
    assert not list(_positional(ast.parse("for a, b in rows: x = row[1]")))


def test_no_row_of_more_than_two_columns_is_decoded_by_position() -> None:
    found = {
        f"{path.name}:{line}"
        for path in Path(bot.__path__[0]).rglob("*.py")
        for line in _positional(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert not found
