"""ExifReader, by which Civitai reads files, in the browser."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.e2e.web.browser import Browser

FILE = Path(__file__).parents[2] / "fakes/exifreader/exif-reader.js"
_RUN = """
const done = arguments[1];
Promise.all(arguments[0].map(async (text) => {
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const tags = await ExifReader.load(bytes.buffer, {async: true, includeUnknown: true});
  const said = {};
  for (const [name, tag] of Object.entries(tags)) {
    if (typeof tag.value === 'string') said[name] = tag.value;
    else if (typeof tag.description === 'string') said[name] = tag.description;
  }
  const comment = tags.UserComment?.value;
  return {said, comment: comment ? btoa(String.fromCharCode(...comment)) : ''};
})).then((found) => done({found}), (error) => done({error: String(error)}));
"""


@dataclass(frozen=True)
class ExifRead:
    """What ExifReader reads of a file.

    Attributes:
        said: Its tags by their names, those whose value is a text, else their descriptions.
        comment: Bytes of Exif's user comment; empty if there is none.
    """

    said: dict[str, str]
    comment: bytes


@cache
def _source() -> str:
    return FILE.read_text(encoding="utf-8")


def read(browser: Browser, files: Sequence[bytes]) -> list[ExifRead]:
    """Return what ExifReader reads of each file."""
    if not browser.js("return 'ExifReader' in window"):
        browser.js(_source())
    answer: dict[str, Any] = browser.driver.execute_async_script(
        _RUN, [base64.b64encode(data).decode() for data in files]
    )
    assert "error" not in answer, answer
    return [ExifRead(one["said"], base64.b64decode(one["comment"])) for one in answer["found"]]
