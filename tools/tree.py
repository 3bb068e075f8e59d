"""Write the tree of the code into docs/architecture.md: each folder and file with the first sentence of its docstring.

python tools/tree.py          rewrites the part between the two markers
python tools/tree.py --check  exits with 1 when the part is out of date
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import page_part

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- tree: python tools/tree.py -->\n", "<!-- end of tree -->\n"
PACKAGES = ("bot", "engine", "adapters", "migrations")


def sentence(path: Path) -> str:
    """Return the first line of a file's docstring; empty where it has none."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def rows(folder: Path) -> Iterator[str]:
    """Yield the lines of one package and of the packages in it."""
    name = folder.relative_to(ROOT).as_posix()
    yield f"\n**`{name}/`** {sentence(folder / '__init__.py')}\n\n"
    files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    yield from (f"- `{path.name}`: {sentence(path)}\n" for path in files)
    for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
        yield from rows(inner)


def tree() -> str:
    """Return the whole part, without its markers."""
    return "".join(line for package in PACKAGES for line in rows(ROOT / package)) + "\n"


if __name__ == "__main__":
    sys.exit(page_part.main(__doc__, PAGE, BEGIN, END, tree))
