"""Checks calls and answers of the Telegram stand-in against the published description of the Bot API."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

SPEC = Path(__file__).parent / "specs" / "telegram-bot-api.json"

_FIXED = re.compile(r'(?:must be|always) "?([a-z_]+)"?\.?$')
_SIMPLE: Mapping[str, type | tuple[type, ...]] = {"Integer": int, "String": str, "Float": (int, float)}


class SpecError(Exception):
    """A body that the real API would refuse, or would silently ignore a part of."""


class Spec:
    """The Bot API's methods and types, as ``specs/telegram-bot-api.json`` describes them."""

    def __init__(self, path: Path = SPEC) -> None:
        loaded = json.loads(path.read_text(encoding="utf-8"))
        self._methods: Mapping[str, Any] = loaded["methods"]
        self._types: Mapping[str, Any] = loaded["types"]
        self._method_by_lower = {name.lower(): name for name in self._methods}

    def method(self, name: str) -> str | None:
        """The method's own spelling (names are case-insensitive); None when there is none."""
        return self._method_by_lower.get(name.lower())

    def call(self, method: str, form: Mapping[str, str], files: Collection[str]) -> dict[str, Any]:
        """Parse and check the form of one call; ``files`` names the uploaded parts.

        Raises:
            SpecError: A required field is missing, a field is unknown or has a wrong type, or an upload is not used.
        """
        fields = {f["name"]: f for f in self._methods[method].get("fields", [])}
        parsed: dict[str, Any] = {}
        for name, text in form.items():
            if name not in fields:
                raise SpecError(f"{method} has no parameter {name}")
            parsed[name] = self._parse(f"{method}.{name}", text, fields[name]["types"])
        for name in files:
            if name in fields:
                if "InputFile" not in fields[name]["types"]:
                    raise SpecError(f"{method}.{name} is not a file")
                parsed[name] = f"attach://{name}"
            elif f"attach://{name}" not in str(form):
                raise SpecError(f"{method}: the uploaded part {name} is used by nothing")
        for reference in re.findall(r"attach://([\w-]+)", str(form)):
            if reference not in files:
                raise SpecError(f"{method}: attach://{reference} was not uploaded")
        for name, field in fields.items():
            if field["required"] and name not in parsed:
                raise SpecError(f"{method} needs the parameter {name}")
        return parsed

    def answer(self, method: str, result: Any) -> None:
        """Check what the stand-in itself answers. Raises SpecError."""
        self.check(f"{method} result", result, self._methods[method]["returns"])

    def check(self, where: str, value: Any, types: Collection[str]) -> None:
        """Raises SpecError when the value fits none of the types."""
        problems = []
        for name in types:
            try:
                self._check_one(where, value, name)
            except SpecError as problem:
                problems.append(str(problem))
            else:
                return
        raise SpecError("; ".join(problems))

    def _parse(self, where: str, text: str, types: Collection[str]) -> Any:
        # A form carries text alone: numbers, booleans and objects are JSON inside it, strings are bare.
        candidates: list[Any] = []
        if set(types) - {"String", "InputFile"}:
            try:
                candidates.append(json.loads(text))
            except ValueError:
                candidates.append({"True": True, "False": False}.get(text, text))
        if "String" in types or "InputFile" in types:
            candidates.append(text)
        problem = SpecError(f"{where} can't be read")
        for value in candidates:
            try:
                self.check(where, value, types)
            except SpecError as found:
                problem = found
            else:
                return value
        raise problem

    def _check_one(self, where: str, value: Any, name: str) -> None:
        if name.startswith("Array of "):
            if not isinstance(value, list):
                raise SpecError(f"{where} is not a list")
            for i, item in enumerate(value):
                self._check_one(f"{where}[{i}]", item, name.removeprefix("Array of "))
        elif name == "Boolean":
            if not isinstance(value, bool):
                raise SpecError(f"{where} is not a boolean")
        elif name == "InputFile":
            if not isinstance(value, str):
                raise SpecError(f"{where} is not a file")
        elif name in _SIMPLE:
            if not isinstance(value, _SIMPLE[name]) or isinstance(value, bool):
                raise SpecError(f"{where} is not of type {name}")
        else:
            self._check_object(where, value, name)

    def _check_object(self, where: str, value: Any, name: str) -> None:
        described = self._types[name]
        if subtypes := described.get("subtypes"):
            self.check(where, value, subtypes)
            return
        if not isinstance(value, dict):
            raise SpecError(f"{where} is not a {name}")
        fields = {f["name"]: f for f in described.get("fields", [])}
        for key, item in value.items():
            if key not in fields:
                raise SpecError(f"{where}: {name} has no field {key}")
            self.check(f"{where}.{key}", item, fields[key]["types"])
            fixed = _FIXED.search(fields[key]["description"])
            if key in {"type", "status", "source"} and fixed and item != fixed[1]:
                raise SpecError(f"{where}.{key} is {item!r}, not {fixed[1]!r}")
        for key, field in fields.items():
            if field["required"] and key not in value:
                raise SpecError(f"{where}: {name} needs the field {key}")


@cache
def spec() -> Spec:
    """The description, read once."""
    return Spec()
