"""Rows and dataclasses: SQL from their fields, rows back into them, and JSON columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, fields, is_dataclass, replace
from enum import Enum
from functools import cache
from operator import attrgetter
from types import UnionType
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import aiosqlite
from pydantic import TypeAdapter, ValidationError

from bot.core.cards import Card
from bot.core.messages import Address

T = TypeVar("T")

SqlValue: TypeAlias = str | int | float | None
"""What a column of Easel's tables holds."""

AMONG = "(SELECT value FROM json_each(?))"
"""What follows IN for a list that is given as JSON: one statement for lists of any length."""

_PLAIN = frozenset({str, int, float, type(None)})
_KEYWORDS = frozenset({"index", "left", "references"})


@dataclass(frozen=True, slots=True)
class Converter:
    """How a field's value is stored in a column.

    Attributes:
        read: From the column's value to the field's. It may raise ValueError.
        write: From the field's value to the column's.
    """

    read: Callable[[Any], Any]
    write: Callable[[Any], SqlValue]


# Most tuples in rows are empty: JSON would be a third of the time that reading a row takes.
TUPLE = Converter(
    lambda text: () if text == "[]" else tuple(json.loads(text)),
    lambda values: json.dumps(list(values)) if values else "[]",
)
"""A tuple of texts or numbers, as JSON."""

BOOL = Converter(bool, int)

JSON = Converter(json.loads, lambda value: json.dumps(value, ensure_ascii=False))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a row.

    Attributes:
        path: The attribute that it holds, from the row's instance on, such as ``request.prompt``.
        name: The field's name.
        sql: The column's name in its table, or the expression that is selected under the field's name.
        converter: How its values are stored; None where they are stored as they are.
    """

    path: str
    name: str
    sql: str
    converter: Converter | None

    def selected(self, alias: str) -> str:
        """Return how a query selects it, as a column of the table with this alias."""
        if not self.sql.isidentifier():
            return f"{self.sql} AS {_quoted(self.name)}"
        return f"{alias}.{_quoted(self.sql)}" if alias else _quoted(self.sql)


def _quoted(name: str) -> str:
    return f'"{name}"' if name in _KEYWORDS else name


class _Step(NamedTuple):
    """The values from ``start`` to ``stop`` become one instance."""

    start: int
    stop: int
    make: Callable[[list[Any]], Any]


class RowMapper(Generic[T]):
    """Reads and writes rows as instances of one dataclass. A field is stored in the column of its name.

    Numbers, texts and None are stored as they are, ``bool`` as 0 or 1, an enumeration as its value, a tuple as JSON. A
    field that is a dataclass is stored in the columns of its own fields. Other types need a converter.
    """

    def __init__(
        self,
        cls: type[T],
        table: str = "",
        *,
        columns: Mapping[str, str] | None = None,
        converters: Mapping[str, Converter] | None = None,
        omit: Collection[str] = (),
    ) -> None:
        """Args:
            cls: The dataclass; it has two columns at least.
            table: The table that ``select`` and ``insert`` use; empty for rows of other statements.
            columns: Columns or SQL expressions by field, where they differ from the field's name.
            converters: Converters by field, those of nested dataclasses included.
            omit: Fields without a column: they keep their default.

        Raises:
            TypeError: A field needs a converter, or there is no field of such a name.
        """
        self.table = table
        shown = tuple(f for f in fields(cast(Any, cls)) if f.name not in omit)
        columns, converters = dict(columns or {}), dict(converters or {})
        hints = get_type_hints(cls)
        self.column_list: list[Column] = []
        self.steps: list[_Step] = [_Step(0, len(shown), _maker(cls, shown))]
        """What makes instances of the columns' values, one after the other: nested dataclasses first, from the last on."""
        for name in (f.name for f in shown):
            if name not in converters and is_dataclass(hints[name]):
                nested = RowMapper[Any](cast(type, hints[name]), **_parts(hints[name], columns, converters))
                start = len(self.column_list)
                self.steps[:0] = [_Step(start + step.start, start + step.stop, step.make) for step in nested.steps]
                self.column_list += [replace(column, path=f"{name}.{column.path}") for column in nested.column_list]
            else:
                converter = converters.pop(name, None) or _converter(name, hints[name])
                self.column_list.append(Column(name, name, columns.pop(name, name), converter))
        if unknown := [*columns, *converters]:
            raise TypeError(f"{cls.__name__} has no field {unknown[0]}")
        converted = [(i, c.converter) for i, c in enumerate(self.column_list) if c.converter]
        self._readers = tuple((i, converter.read) for i, converter in converted)
        self._writers = tuple((i, converter.write) for i, converter in converted)
        self._values = attrgetter(*(column.path for column in self.column_list))
        self.columns = self.qualified("")
        """The column list of a SELECT or RETURNING."""
        marks = ", ".join("?" * len(self.column_list))
        self._insert = f"INSERT INTO {table} ({self.columns}) VALUES ({marks})"  # noqa: S608 - constants

    def qualified(self, alias: str) -> str:
        """Return the column list, with each column of the table that has this alias."""
        return ", ".join(column.selected(alias) for column in self.column_list)

    def read(self, row: Iterable[Any]) -> T:
        """Return the instance of a row that was selected by ``columns``. Raises ValueError if a value can't be read."""
        values = list(row)
        for index, read in self._readers:
            values[index] = read(values[index])
        for start, stop, make in self.steps:
            values[start:stop] = (make(values[start:stop]),)
        return cast(T, values[0])

    def write(self, instance: T) -> tuple[SqlValue, ...]:
        """Return an instance's values, in the order of ``columns``."""
        values = list(self._values(instance))
        for index, write in self._writers:
            values[index] = write(values[index])
        return tuple(values)

    async def select(self, tx: aiosqlite.Connection, where: str, values: Sequence[SqlValue] = ()) -> tuple[T, ...]:
        """Return the matching rows of the table; ``where`` is what follows the table's name."""
        return await self.fetch(tx, f"SELECT {self.columns} FROM {self.table} {where}", values)  # noqa: S608 - constants

    async def select_one(self, tx: aiosqlite.Connection, where: str, values: Sequence[SqlValue] = ()) -> T | None:
        """Return the first matching row of the table, or None."""
        return next(iter(await self.select(tx, where, values)), None)

    async def fetch(self, tx: aiosqlite.Connection, sql: str, values: Sequence[SqlValue] = ()) -> tuple[T, ...]:
        """Return the rows of a statement that selects or returns ``columns``."""
        return tuple([self.read(row) for row in await tx.execute_fetchall(sql, values)])

    async def fetch_one(self, tx: aiosqlite.Connection, sql: str, values: Sequence[SqlValue] = ()) -> T | None:
        """Return the first row of such a statement, or None."""
        return next(iter(await self.fetch(tx, sql, values)), None)

    async def insert(self, tx: aiosqlite.Connection, instance: T, clause: str = "") -> Iterable[Sequence[Any]]:
        """Insert an instance.

        Args:
            tx: A writing transaction.
            instance: What to store.
            clause: What follows the values, such as ``ON CONFLICT ...`` or ``RETURNING ...``.

        Returns:
            The rows of the clause's RETURNING.
        """
        return await tx.execute_fetchall(f"{self._insert} {clause}", self.write(instance))

    def excluded(self, *keys: str) -> str:
        """Return the assignments of an upsert: all columns but ``keys`` take their values from the new row."""
        names = [column.selected("") for column in self.column_list if column.name not in keys]
        return ", ".join(f"{name} = excluded.{name}" for name in names)


def _maker(cls: type[Any], shown: Sequence[Field[Any]]) -> Callable[[list[Any]], Any]:
    """Return what makes an instance of the values of these fields."""
    if len(shown) == len(fields(cls)) and not any(f.kw_only for f in shown):
        return lambda values: cls(*values)
    names = tuple(f.name for f in shown)
    return lambda values: cls(**dict(zip(names, values, strict=True)))


def _parts(cls: Any, columns: dict[str, str], converters: dict[str, Converter]) -> dict[str, Any]:
    """Take what belongs to a nested dataclass out of its owner's arguments."""
    names = {f.name for f in fields(cls)}
    return {
        "columns": {name: columns.pop(name) for name in names & columns.keys()},
        "converters": {name: converters.pop(name) for name in names & converters.keys()},
    }


def _converter(name: str, hint: Any) -> Converter | None:
    """Return the converter of a type; None where its values are stored as they are. Raises TypeError."""
    if get_origin(hint) is tuple:
        return TUPLE
    if hint is bool:
        return BOOL
    if isinstance(hint, type) and issubclass(hint, Enum):
        return Converter(hint, lambda value: cast(SqlValue, value.value))
    kinds = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
    if not _PLAIN.issuperset(kinds):
        raise TypeError(f"the field {name} of type {hint} needs a converter")
    return None


M = TypeVar("M")


@cache
def _cards() -> TypeAdapter[Card]:
    return TypeAdapter(Card)


@cache
def _addresses() -> TypeAdapter[Address]:
    return TypeAdapter(Address)


def dump_card(card: Card) -> str:
    """Return the card as JSON, without its preview, its details and the names of its thumbnails."""
    left_out: Any = {"preview": True, "details": True, "pictures": {"__all__": {"digest"}}}
    return _cards().dump_json(card, exclude=left_out, exclude_defaults=True).decode()


def load_card(text: str) -> Card:
    """Return the card of its JSON. Raises ValueError if ``dump_card`` did not write it."""
    return _read(_cards(), text)


def dump_address(address: Address) -> str:
    """Return the address as JSON. It contains the interaction token: never log it."""
    return _addresses().dump_json(address, exclude_defaults=True).decode()


def load_address(text: str) -> Address:
    """Return the address of its JSON. Raises ValueError if ``dump_address`` did not write it."""
    return _read(_addresses(), text)


ADDRESS = Converter(load_address, dump_address)


def json_of(cls: type, *, without: Collection[str] = ()) -> Converter:
    """Return the converter of a field that is a dataclass and is stored as JSON, except some of its fields.

    Its ``read`` raises ValueError if its ``write`` did not write the text.
    """

    @cache
    def adapter() -> TypeAdapter[Any]:
        return TypeAdapter(cls)

    def write(value: Any) -> str:
        return adapter().dump_json(value, exclude=set(without), exclude_defaults=True).decode()

    return Converter(lambda text: _read(adapter(), text), write)


def _read(adapter: TypeAdapter[M], text: str) -> M:
    try:
        return adapter.validate_json(text)
    except ValidationError as e:
        # pydantic's own error quotes the input: tokens and prompts, which must not be logged.
        problem = f"{e.title}: {e.error_count()} invalid fields"
    raise ValueError(problem)
