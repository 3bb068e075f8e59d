"""A unit test is found by the name of the module that it tests."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "tests" / "unit"

EXCEPTIONS = {
    "adapters/cli/test_packaging.py": "builds the wheel and runs it",
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
