"""Print figures about the code's structure: python tools/structure.py [--since REV].

Static figures come from the import graph (grimp) and from the syntax trees. The walk of one request is measured: a
request is drawn by the tests' bot with the fake engine, and every product file whose functions run is counted.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import grimp

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("adapters", "bot", "engine")
LONGEST_SUBJECT = 72


class FileTrace:
    """Collects the product files whose functions run while it is active."""

    def __init__(self) -> None:
        self.files: set[Path] = set()
        self._known: dict[str, Path | None] = {}

    def __enter__(self) -> FileTrace:
        threading.setprofile(self._called)
        sys.setprofile(self._called)
        return self

    def __exit__(self, *_error: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]

    def _called(self, frame: FrameType, event: str, _arg: Any) -> None:
        if event != "call":
            return
        name = frame.f_code.co_filename
        if name not in self._known:
            self._known[name] = product_file(Path(name))
        if (path := self._known[name]) is not None:
            self.files.add(path)


def product_file(path: Path) -> Path | None:
    """Return the path below the root, or None for a file that is not one of Easel's packages."""
    if not path.is_relative_to(ROOT):
        return None
    inside = path.relative_to(ROOT)
    return inside if inside.parts[0] in PACKAGES else None


def product_files() -> Iterator[Path]:
    """Yield every Python file of the product."""
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def lines(path: Path) -> int:
    """Return the number of lines in a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


async def walk() -> tuple[set[Path], set[Path]]:
    """Draw one picture; return the files entered by its admission, and by the whole request."""
    sys.path.insert(0, str(ROOT))
    from tests.fakes.engine import FakeEngine  # noqa: PLC0415 - after the path is set
    from tests.fakes.surface import ABLE, FakeSurface  # noqa: PLC0415
    from tests.flow.harness import Bot  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        engine = FakeEngine()
        await engine.start()
        bot = Bot(Path(folder), engine, {"chat": FakeSurface(able=ABLE)})
        await bot.start()
        try:
            # The background workers start during the first request; the second one is measured.
            await bot.delivered((await bot.ask("a green pear", seed="6")).id)
            with FileTrace() as trace:
                job = await bot.ask("a red apple", seed="7")
                admission = set(trace.files)
                await bot.delivered(job.id)
            return admission, trace.files
        finally:
            await bot.kill()
            await engine.aclose()


def single_importers() -> list[str]:
    """Return the modules that exactly one other module imports; packages are left out."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    packages = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for path in product_files()
        if path.name == "__init__.py"
    }
    return sorted(
        module
        for module in graph.modules
        if module not in packages and len(graph.find_modules_that_directly_import(module)) == 1
    )


def repeated_class_names() -> dict[str, list[str]]:
    """Return the class names that more than one file defines, with these files."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in product_files():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(path.relative_to(ROOT).as_posix())
    return {name: files for name, files in sorted(found.items()) if len(files) > 1}


def long_subjects(since: str) -> list[str]:
    """Return the commits since a revision whose subject is longer than 72 characters."""
    log = subprocess.run(
        ["git", "log", "--format=%h %s", f"{since}..HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [line for line in log.splitlines() if len(line.split(" ", 1)[1]) > LONGEST_SUBJECT]


def main() -> None:
    """Print every figure; with --names the modules, classes and files too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--since", metavar="REV", help="also count the commits with long subjects since this revision")
    parser.add_argument("--names", action="store_true", help="also print what was counted")
    options = parser.parse_args()
    files = list(product_files())
    admission, whole = asyncio.run(walk())
    single = single_importers()
    repeated = repeated_class_names()
    print(f"product code                     {len(files):6} files {sum(lines(path) for path in files):7} lines")
    print(
        f"entered by admission             {len(admission):6} files {sum(lines(ROOT / path) for path in admission):7} lines"
    )
    print(f"entered by a whole request       {len(whole):6} files {sum(lines(ROOT / path) for path in whole):7} lines")
    print(f"modules with one importer        {len(single):6}")
    print(f"class names with several classes {len(repeated):6}")
    if options.since:
        long = long_subjects(options.since)
        print(f"commit subjects over 72          {len(long):6}")
    if options.names:
        print("\nentered by admission:")
        for path in sorted(admission):
            print(f"  {path}")
        print("\nentered by a whole request:")
        for path in sorted(whole):
            print(f"  {path}")
        print("\nmodules with one importer:")
        for module in single:
            print(f"  {module}")
        print("\nclass names with several classes:")
        for name, places in repeated.items():
            print(f"  {name}: {', '.join(places)}")


if __name__ == "__main__":
    main()
