"""Reads the header of a GGUF file within bounds; the reader of the gguf library trusts every count in the file."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.contract import UnknownModel
from engine.regular_files import open_regular
from engine.weights import TensorInfo

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MOST_HEADER = 16 * 2**20
"""Largest header in bytes; a denoiser's has about 100 KB."""

_MOST_ELEMENTS = 100_000
"""Largest number of array elements in a header; the library's reader takes microseconds for each."""

_MOST_SIDES = 4
_SCALARS: Mapping[int, int] = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Size in bytes of each fixed-size value type."""

_UINT32, _STRING, _ARRAY = 4, 8, 9
_ALIGNMENT = "general.alignment"


@dataclass(slots=True)
class _Cursor:
    """Reads a header from its beginning. Raises ValueError past its end."""

    data: bytes
    at: int = 0
    elements: int = 0

    def skip(self, count: int) -> int:
        """Skip bytes; return the offset where they begin."""
        begin = self.at
        if count > len(self.data) - begin:
            raise ValueError("its header is cut short")
        self.at += count
        return begin

    def number(self, form: str) -> int:
        found: int = struct.unpack_from(form, self.data, self.skip(struct.calcsize(form)))[0]
        return found

    def text(self) -> str:
        length = self.number("<Q")
        begin = self.skip(length)
        return self.data[begin : begin + length].decode("utf-8")

    def value(self) -> int:
        """Skip a typed value; return it where it is a uint32, else 0."""
        kind = self.number("<I")
        if kind == _UINT32:
            return self.number("<I")
        if kind != _ARRAY:
            self._one(kind)
            return 0
        kind, count = self.number("<I"), self.number("<Q")
        self.elements += count
        if self.elements > _MOST_ELEMENTS:
            raise ValueError(f"its header has lists of more than {_MOST_ELEMENTS} values")
        for _ in range(count):
            self._one(kind)
        return 0

    def _one(self, kind: int) -> None:
        if kind == _STRING:
            self.skip(self.number("<Q"))
        elif kind in _SCALARS:
            self.skip(_SCALARS[kind])
        else:
            raise ValueError(f"its header has a value of the unknown type {kind}")


def header(path: Path) -> Mapping[str, TensorInfo]:
    """Return the tensors of a GGUF file by name.

    Raises:
        UnknownModel: The file is missing, is no complete GGUF file, or the gguf library is not installed.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(_MOST_HEADER)
    except OSError as e:
        raise UnknownModel(f"The model's file {path} can't be read ({e.strerror or e}).") from e
    if not data.startswith(_MAGIC):
        raise UnknownModel(f"The model's file {path} is no GGUF file, whatever its name says; download it again.")
    try:
        library = import_module("gguf")
    except ImportError as e:
        raise UnknownModel(f"{path} needs gguf, which is not installed: pip install 'easel[quant]'.") from e
    try:
        return _tensors(_Cursor(data, len(_MAGIC)), size, library)
    except (ValueError, OverflowError, struct.error) as e:
        raise UnknownModel(f"The model's file {path} is damaged: {e}; copy or download it again.") from e


def _tensors(cursor: _Cursor, size: int, library: Any) -> Mapping[str, TensorInfo]:
    version = cursor.number("<I")
    if version not in _VERSIONS:
        raise ValueError(f"its version is {version}")
    tensors, values = cursor.number("<Q"), cursor.number("<Q")
    alignment = 32
    for _ in range(values):  # each consumes bytes, so that a wrong count fails at the end of the header
        if cursor.text() == _ALIGNMENT:
            alignment = cursor.value() or alignment
        else:
            cursor.value()
    found: dict[str, TensorInfo] = {}
    end = 0
    for _ in range(tensors):
        name, sides = cursor.text(), cursor.number("<I")
        if sides > _MOST_SIDES:
            raise ValueError(f"its tensor {name[:80]!r} has {sides} sides")
        shape = tuple(cursor.number("<Q") for _ in range(sides))[::-1]
        kind = library.GGMLQuantizationType(cursor.number("<I"))
        block, bytes_of_block = library.GGML_QUANT_SIZES[kind]
        if name in found or (shape and shape[-1] % block):
            raise ValueError(f"its tensor {name[:80]!r} is there twice, or not as large as it says")
        end = max(end, cursor.number("<Q") + math.prod(shape) // block * bytes_of_block)
        found[name] = TensorInfo(kind.name, shape)
    begin = math.ceil(cursor.at / alignment) * alignment
    if end > size - begin:
        raise ValueError(f"{end - size + begin} bytes are missing at its end")
    return found
