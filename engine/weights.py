"""Reads the header of a weights file, safetensors or GGUF: names, dtypes and shapes of its tensors."""

from __future__ import annotations

import json
import math
import os
import re
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.contract import UnknownModel
from engine.regular_files import open_regular

_MOST_HEADER = 100_000_000
"""Largest header in bytes that safetensors accepts."""

_METADATA = "__metadata__"
"""Entry of a safetensors header that is no tensor."""

_BITS: Mapping[str, int] = {"F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32}
_BITS_16 = frozenset({"F16", "BF16", "I16", "U16"})
_BITS_4 = frozenset({"F4"})
_BITS_6 = frozenset({"F6_E2M3", "F6_E3M2"})

_VARIANT = re.compile(r"\.(fp16|bf16|fp32|non_ema)[.-]")
"""Variant in a file name of diffusers; in the name of a shard it stands before the number."""

_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"
_GGUF = b"GGUF"

_GGUF_VERSIONS = (2, 3)
_MOST_GGUF_HEADER = 16 * 2**20
"""Largest header in bytes of a GGUF file; a denoiser's has about 100 KB."""

_MOST_ELEMENTS = 100_000
"""Largest number of array elements in a GGUF header; the library's reader takes microseconds for each."""

_MOST_SIDES = 4

_SCALARS: Mapping[int, int] = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Size in bytes of each fixed-size value type of GGUF."""

_UINT32, _STRING, _ARRAY = 4, 8, 9
_INT32 = 5
_GGUF_ALIGNMENT = "general.alignment"

CHECKPOINT = "model.diffusion_model."
"""Beginning of a denoiser's keys in a checkpoint that may have other parts too."""

ORIGINAL_SHAPE = "comfy.gguf.orig_shape."
"""Beginning of the header's key for the shape of a tensor that was reshaped to rows of 256 numbers, to quantise it.

The converter of ComfyUI-GGUF (city96) does so for SDXL and SD 1.5, whose rows are seldom multiples of 256.
"""

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
"""Suffixes of weights that are pickles, which can run code when they are read."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file.

    Attributes:
        dtype: Format as safetensors names it (``F16``, ``BF16``, ...).
        shape: Its shape.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of its elements."""
        return math.prod(self.shape)


def header(path: Path) -> Mapping[str, TensorInfo]:
    """Return the tensors of a safetensors file by name.

    Raises:
        UnknownModel: The file is missing, is a pickle, is truncated or is no safetensors file.
    """
    return header_and_metadata(path)[0]


def header_and_metadata(path: Path) -> tuple[Mapping[str, TensorInfo], Mapping[str, str]]:
    """Return the tensors of a safetensors file by name, and the metadata of the file.

    Raises:
        UnknownModel: As ``header``.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            first = file.read(8)
            length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
            if not 2 <= length <= min(_MOST_HEADER, size - 8):
                _something_else(path, first)
                raise UnknownModel(_damaged(path, "its header is cut short"))
            found = json.loads(file.read(length))
    except FileNotFoundError:
        raise UnknownModel(f"The model's file {path} is not there.") from None
    except OSError as e:
        raise UnknownModel(f"The model's file {path} can't be read ({e.strerror or e}).") from e
    except (ValueError, RecursionError) as e:
        raise UnknownModel(_damaged(path, "its header can't be read")) from e
    tensors = _tensors(path, found, size - 8 - length)
    texts = found.get(_METADATA)
    return tensors, {str(k): str(v) for k, v in texts.items()} if isinstance(texts, dict) else {}


def gguf_header(path: Path) -> Mapping[str, TensorInfo]:
    """Return the tensors of a GGUF file by name, with the shapes that they had before they were quantised.

    The header is read here within bounds: the reader of the gguf library trusts every count in the file.

    Raises:
        UnknownModel: The file is missing, is no complete GGUF file, or the gguf library is not installed.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(_MOST_GGUF_HEADER)
    except OSError as e:
        raise UnknownModel(f"The model's file {path} can't be read ({e.strerror or e}).") from e
    if not data.startswith(_GGUF):
        raise UnknownModel(f"The model's file {path} is no GGUF file, whatever its name says; download it again.")
    try:
        library = import_module("gguf")
    except ImportError as e:
        raise UnknownModel(f"{path} needs gguf, which is not installed: pip install 'easel[quant]'.") from e
    try:
        return _gguf_tensors(_Cursor(data, len(_GGUF)), size, library)
    except (ValueError, OverflowError, struct.error) as e:
        raise UnknownModel(f"The model's file {path} is damaged: {e}; copy or download it again.") from e


def parameters(folder: Path) -> int:
    """Return the number of parameters in a part's folder; 0 where its files can't be read."""
    total = 0
    for path in weight_files(folder):
        try:
            total += sum(tensor.count for tensor in header(path).values())
        except UnknownModel:
            return 0
    return total


def denoiser_parameters(path: Path) -> int:
    """Return the number of a denoiser's parameters in its own file or a checkpoint; 0 where it can't be read."""
    try:
        tensors = gguf_header(path) if path.suffix.lower() == ".gguf" else header(path)
    except UnknownModel:
        return 0
    own = [tensor for name, tensor in tensors.items() if name.startswith(CHECKPOINT)] or tensors.values()
    return sum(tensor.count for tensor in own)


def common_format(paths: Iterable[Path]) -> str:
    """Return the format of most of the numbers in ``.safetensors`` files: ``fp32``, ``fp16``, ``bf16``, ``f8_e4m3``, ...

    Raises:
        UnknownModel: A file can't be read.
    """
    found: Counter[str] = Counter()
    for path in paths:
        for tensor in header(path).values():
            found[tensor.dtype] += tensor.count
    most = max(found, key=found.__getitem__, default="")
    return {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}.get(most, most.lower())


def only_format(paths: Iterable[Path]) -> bool:
    """Whether all numbers in ``.safetensors`` files are in one format that PyTorch computes in; positions do not count.

    Raises:
        UnknownModel: A file can't be read.
    """
    found = {tensor.dtype for path in paths for tensor in header(path).values()} - {"I64", "I32"}
    return len(found) == 1 and found <= {"F32", "F16", "BF16"}


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files that a part is loaded from: the plain ones, else those of ``variant``."""
    kind = variant(folder)
    return [path for path in visible(folder, "*.safetensors") if _variant(path) == kind]


def variant(folder: Path) -> str:
    """Return the variant (``fp16``, ...) where a part has no plain weight files; empty otherwise."""
    kinds = sorted({_variant(path) for path in visible(folder, "*.safetensors")})
    return kinds[0] if kinds else ""


def visible(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a folder that match a pattern, sorted, without hidden ones.

    macOS writes ``._name`` (AppleDouble) next to each file on foreign disks; other programs hide unfinished copies.
    """
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def _variant(path: Path) -> str:
    found = _VARIANT.search(path.name)
    return found[1] if found else ""


def _tensors(path: Path, found: object, room: int) -> Mapping[str, TensorInfo]:
    if not isinstance(found, dict):
        raise UnknownModel(_damaged(path, "its header is no JSON object"))
    tensors: dict[str, TensorInfo] = {}
    end = 0
    for name, entry in found.items():
        if name == _METADATA:
            continue
        try:
            kind, shape, (begin, stop) = (
                entry["dtype"],
                tuple(map(int, entry["shape"])),
                map(int, entry["data_offsets"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError):  # the last for Infinity, which is no JSON
            raise UnknownModel(_damaged(path, f"its entry {name[:80]!r} can't be read")) from None
        bits = _bits(str(kind))
        if bits and (stop - begin) * 8 != math.prod(shape) * bits:
            raise UnknownModel(_damaged(path, f"its tensor {name[:80]!r} is not as large as it says"))
        end = max(end, stop)
        tensors[name] = TensorInfo(str(kind), shape)
    if end > room:
        raise UnknownModel(_damaged(path, f"{end - room} bytes are missing at its end"))
    return tensors


def _bits(kind: str) -> int:
    """Return the bits of one element; 0 for unknown dtypes."""
    if kind in _BITS_16:
        return 16
    if kind in _BITS_4:
        return 4
    if kind in _BITS_6:
        return 6
    return _BITS.get(kind, 8 if kind.startswith(("F8", "I8", "U8", "BOOL")) else 0)


def _something_else(path: Path, first: bytes) -> None:
    """Raise UnknownModel for a known other file type. Call it for invalid headers alone: a valid length may look alike."""
    if first.startswith((_ZIP, _PICKLE)):
        raise UnknownModel(
            f"The model's file {path} is a pickle, whatever its name says, and pickles can run code; "
            "get the model as .safetensors."
        )
    if first.startswith(_GGUF):
        raise UnknownModel(f"The model's file {path} is a GGUF file; give it as transformer, named .gguf.")
    if first.lstrip()[:1] == b"<" or first.startswith(b"version "):
        raise UnknownModel(
            f"The model's file {path} is a page or a Git LFS pointer and no weights; download the file itself."
        )


def _damaged(path: Path, why: str) -> str:
    return f"The model's file {path} is damaged: {why}; copy or download it again."


@dataclass(slots=True)
class _Cursor:
    """Reads a GGUF header from its beginning. Raises ValueError past its end."""

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

    def sides(self) -> tuple[int, ...]:
        """Return a typed value that is a list of at most four int32."""
        kind, of, count = self.number("<I"), self.number("<I"), self.number("<Q")
        if (kind, of) != (_ARRAY, _INT32) or count > _MOST_SIDES:
            raise ValueError("its header has a shape that is no list of a few numbers")
        return tuple(self.number("<i") for _ in range(count))

    def _one(self, kind: int) -> None:
        if kind == _STRING:
            self.skip(self.number("<Q"))
        elif kind in _SCALARS:
            self.skip(_SCALARS[kind])
        else:
            raise ValueError(f"its header has a value of the unknown type {kind}")


def _gguf_tensors(cursor: _Cursor, size: int, library: Any) -> Mapping[str, TensorInfo]:
    version = cursor.number("<I")
    if version not in _GGUF_VERSIONS:
        raise ValueError(f"its version is {version}")
    tensors, values = cursor.number("<Q"), cursor.number("<Q")
    alignment = 32
    shapes: dict[str, tuple[int, ...]] = {}
    for _ in range(values):  # each consumes bytes, so that a wrong count fails at the end of the header
        key = cursor.text()
        if key == _GGUF_ALIGNMENT:
            alignment = cursor.value() or alignment
        elif key.startswith(ORIGINAL_SHAPE):
            shapes[key.removeprefix(ORIGINAL_SHAPE)] = cursor.sides()
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
        original = shapes.get(name, shape)
        if min(original, default=1) < 0 or math.prod(original) != math.prod(shape):
            raise ValueError(f"its tensor {name[:80]!r} is not as large as it says")
        found[name] = TensorInfo(kind.name, original)
    begin = math.ceil(cursor.at / alignment) * alignment
    if end > size - begin:
        raise ValueError(f"{end - size + begin} bytes are missing at its end")
    return found
