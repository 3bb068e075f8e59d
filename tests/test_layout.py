"""A unit test is found by the name of the module that it tests; the core compares no platform's name; tests that documents name exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "tests" / "unit"

EXCEPTIONS = {
    "adapters/cli/test_packaging.py": "builds the packages and runs the wheel",
    "adapters/test_admins_page.py": "checks a page of docs/ against every adapter",
    "adapters/test_commands.py": "compares the commands of all adapters",
    "engine/diffusion/test_every_model.py": "goes from models.toml to a picture",
    "engine/families/test_models.py": "compares every family with its diffusers pipeline",
    "engine/families/test_new_family.py": "adds a family to the package from tests/fakes",
}
"""Unit tests of several modules at once, and why."""


def module_of(test: Path) -> Path | None:
    """Return the module or package that a test is named by: ``test_<module>.py`` or ``test_<module>_<aspect>.py``."""
    words = test.stem.removeprefix("test_").split("_")
    folder = ROOT / test.relative_to(UNIT).parent
    for length in range(len(words), 0, -1):
        named = folder / "_".join(words[:length])
        files = named.iterdir() if named.is_dir() else ()
        if named.with_suffix(".py").is_file() or any(path.name != "__pycache__" for path in files):
            return named
    return None


def test_every_unit_test_is_named_by_its_module() -> None:
    tests = [path for path in UNIT.rglob("test_*.py") if path.relative_to(UNIT).as_posix() not in EXCEPTIONS]
    assert len(tests) > 100
    assert [path.relative_to(ROOT).as_posix() for path in tests if module_of(path) is None] == []


def test_every_exception_is_still_there() -> None:
    assert [name for name in EXCEPTIONS if not (UNIT / name).is_file()] == []
    assert [name for name in EXCEPTIONS if module_of(UNIT / name) is not None] == []


def test_a_module_that_is_gone_is_noticed() -> None:
    assert module_of(UNIT / "bot/storage/test_database.py") == ROOT / "bot/storage/database"
    assert module_of(UNIT / "bot/storage/test_databases.py") is None


PLATFORMS = frozenset(path.parent.name for path in (ROOT / "adapters").glob("*/platform.py"))
_COMPARING = frozenset({"startswith", "endswith", "removeprefix", "partition", "fullmatch", "match"})


def comparisons(source: str) -> Iterator[int]:
    """Yield the lines of a module that compare something with a platform's name, or look something up by it."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare():
                parts: list[ast.AST] = [node.left, *node.comparators]
            case ast.MatchValue() | ast.Subscript():
                parts = [node]
            case ast.Dict():
                parts = [key for key in node.keys if key is not None]
            case ast.Call(func=ast.Attribute(attr=name)) if name in _COMPARING:
                parts = list(node.args)
            case _:
                continue
        texts = (one.value for part in parts for one in ast.walk(part) if isinstance(one, ast.Constant))
        if any(isinstance(text, str) and text.strip(":.").lower() in PLATFORMS for text in texts):
            yield node.lineno


def test_no_branch_of_the_core_compares_a_platforms_name() -> None:
    """What a platform can do is in its Abilities and its settings."""
    assert {"discord", "telegram", "web"} <= PLATFORMS
    found = {
        f"{path.relative_to(ROOT).as_posix()}:{line}"
        for path in (ROOT / "bot").rglob("*.py")
        for line in comparisons(path.read_text(encoding="utf-8"))
    }
    assert found == set()


def test_a_comparison_with_a_platforms_name_is_noticed() -> None:
    source = """
if actor.platform == "discord": pass
if actor.platform in {"web", "cli"}: pass
match place.platform:
    case "telegram": pass
limit = {"telegram": 1}.get(platform)
key.startswith("discord.")
log("discord")
"""
    assert sorted(comparisons(source)) == [2, 3, 5, 6, 7]


def test_every_test_that_the_documents_name_is_there() -> None:
    named = {
        found
        for page in (ROOT / "docs").rglob("*.md")
        for found in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text(encoding="utf-8"))
    }
    assert len(named) > 5
    sources = {path: (ROOT / path).read_text(encoding="utf-8") for path, _ in named}
    assert [f"{path}::{name}" for path, name in sorted(named) if f"def {name}(" not in sources[path]] == []
