"""Picture files that are made to break, slow down or trick programs that read them; the same ones for the same seed."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache

from bot.core.file_marks import PARAMETERS, XMP, embed_texts
from tests.fakes.source_images import picture

RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
EXT = 'xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
Maker = Callable[[random.Random], bytes]


def chunk(name: bytes, content: bytes, length: int | None = None) -> bytes:
    """A PNG's chunk, which may lie about its length."""
    return (
        struct.pack(">I", (len(content) if length is None else length) & 0xFFFFFFFF)
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def png_with(*chunks: bytes) -> bytes:
    """A PNG with these chunks behind its header."""
    data = picture()
    return data[:33] + b"".join(chunks) + data[33:]


def segment(marker: int, content: bytes, length: int | None = None) -> bytes:
    """A JPEG's segment, which may lie about its length."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2 if length is None else length) + content


def jpeg_with(*segments: bytes) -> bytes:
    """A JPEG with these segments at its beginning."""
    data = picture(form="JPEG")
    return data[:2] + b"".join(segments) + data[2:]


def webp_with(*chunks: tuple[bytes, bytes, int | None]) -> bytes:
    """A WebP with these chunks at its end, which may lie about their lengths."""
    body = picture(form="WEBP")[12:]
    for name, content, length in chunks:
        size = (len(content) if length is None else length) & 0xFFFFFFFF
        body += name + struct.pack("<I", size) + content + b"\0" * (len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def in_any(chance: random.Random, exif: bytes = b"", xmp: bytes = b"") -> bytes:
    """A file of any format with this Exif block or this packet."""
    form = chance.choice(["PNG", "JPEG", "WEBP"])
    if form == "PNG":
        return png_with(
            *([chunk(b"eXIf", exif)] if exif else []),
            *([chunk(b"iTXt", XMP.encode() + b"\0\0\0\0\0" + xmp)] if xmp else []),
        )
    if form == "JPEG":
        parts = [segment(0xE1, b"Exif\0\0" + exif[:65_000])] if exif else []
        if xmp:
            parts.append(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp[:65_000]))
        return jpeg_with(*parts)
    return webp_with(*([(b"EXIF", exif, None)] if exif else []), *([(b"XMP ", xmp, None)] if xmp else []))


@cache
def packed_letters(count: int) -> bytes:
    return zlib.compress(b"a" * count, 9)


def truncated(chance: random.Random) -> bytes:
    data = picture(form=chance.choice(["PNG", "JPEG", "WEBP"]))
    return data[: chance.randrange(len(data))]


def flipped(chance: random.Random) -> bytes:
    data = bytearray(picture(form=chance.choice(["PNG", "JPEG", "WEBP"])))
    for _ in range(chance.randint(1, 20)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def wrong_length(chance: random.Random) -> bytes:
    length = chance.choice([0, 1, 2, 3, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
    name = chance.choice([b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"caBX", b"IDAT", b"aaAa"])
    return chance.choice(
        [
            png_with(chunk(name, b"parameters\0Steps: 1, c2pa", length)),
            jpeg_with(segment(chance.choice([0xE1, 0xEB, 0xFE, 0xC0, 0xDB]), b"Exif\0\0MM c2pa", length & 0xFFFF)),
            webp_with((chance.choice([b"EXIF", b"XMP ", b"C2PA", b"VP8X"]), b"c2pa", length)),
        ]
    )


def many_parts(chance: random.Random) -> bytes:
    count = chance.choice([1_000, 1_000, 1_000, 60_000, 400_000])
    match chance.randrange(6):
        case 0:
            return png_with(chunk(b"aaAa", b"") * count)
        case 1:
            return png_with(chunk(b"tEXt", b"parameters\0a") * (count // 4))
        case 2:
            return jpeg_with(b"\xff" * count)
        case 3:
            return jpeg_with(segment(0xE2, b"") * count)
        case 4:
            return jpeg_with((segment(0xE1, b"Exif\0\0" + b"a" * 200) + b"\0") * (count // 50))
    return webp_with(*[(b"EXIF", b"", None)] * (count // 40))


def bomb(chance: random.Random) -> bytes:
    packed = packed_letters(chance.choice([2**20, 2**22, 2**22 + 1, 2**25]))
    end = chance.choice([b"", b"\0damaged"])
    body = chance.choice([packed, packed[: len(packed) // 2]]) + end
    one = chance.choice([chunk(b"zTXt", b"parameters\0\0" + body), chunk(b"iTXt", b"prompt\0\1\0\0\0" + body)])
    return png_with(one * chance.choice([1, 1, 1, 3, 200]))


def deep_xml(chance: random.Random) -> bytes:
    depth = chance.choice([100, 5_000, 20_000])
    name = chance.choice(["a", "rdf:Description", "rdf:li"])
    text = (
        f"<rdf:RDF {RDF} {EXT}>"
        + f"<{name}>" * depth
        + "x"
        + f"</{name}>" * chance.choice([depth, depth // 2])
        + "</rdf:RDF>"
    )
    return in_any(chance, xmp=text.encode())


def entities(chance: random.Random) -> bytes:
    lines = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    text = chance.choice(
        [
            f'<!DOCTYPE r [<!ENTITY a0 "ha">{lines}]><r>&a9;</r>',
            '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>',
            '<!DOCTYPE r SYSTEM "http://127.0.0.1:9/x.dtd"><r/>',
            '<!DOCTYPE r [<!ENTITY % p SYSTEM "http://127.0.0.1:9/p"> %p;]><r/>',
            f"<rdf:RDF {RDF}>" + "&#0;&#x110000;&nbsp;" + "</rdf:RDF>",
        ]
    )
    return in_any(chance, xmp=text.encode())


def odd_properties(chance: random.Random) -> bytes:
    values = [
        "",
        "x",
        "x" * 50_000,
        "<rdf:Alt><rdf:li>a</rdf:li></rdf:Alt>",
        "&lt;script&gt;",
        '{"Label":1}',
        "[" * 500,
    ]
    inside = "".join(
        f"<e:{chance.choice(['DigitalSourceType', 'AIPromptInformation', 'AISystemUsed'])}>{value}"
        + "</e:x>" * (chance.random() < 0.1)
        for value in chance.choices(values, k=chance.randint(1, 30))
    )
    return in_any(chance, xmp=f"<rdf:RDF {RDF} {EXT}><rdf:Description>{inside}".encode())


def directories(chance: random.Random) -> bytes:
    """Exif directories that contain themselves, have no end, or point outside."""
    order = chance.choice("<>")
    count = chance.choice([0, 1, 3, 1000, 65_535])
    entries = b"".join(
        struct.pack(
            f"{order}HHII",
            chance.choice([0x8769, 0x9286, 0x010E, 0x010F, 0x0112, 0x8825, 0xA005]),
            chance.choice([0, 1, 2, 3, 4, 7, 12, 99]),
            chance.choice([0, 1, 4, 1000, 0xFFFFFFFF, 0x40000000]),
            chance.choice([0, 8, 10, 26, 60, 0xFFFFFFF0]),
        )
        for _ in range(min(count, chance.choice([1, 40, 1000])))
    )
    block = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", chance.choice([8, 0, 4, 2**31]), count)
    return in_any(chance, exif=block + entries + chance.randbytes(chance.choice([0, 3, 5_000])))


def large_comments(chance: random.Random) -> bytes:
    """Directories whose entries all point to one large text."""
    size, count = 2**20, chance.choice([1, 1, 1000])
    head = b"MM\0*" + struct.pack(">IH", 8, count)
    entries = b"".join(struct.pack(">HHII", 0x010E, 2, size - 20_000, 10) for _ in range(count))
    block = head + entries + b"a" * (size - len(entries))
    return png_with(chunk(b"eXIf", block) * chance.choice([1, 3]))


def c2pa_garbage(chance: random.Random) -> bytes:
    def box(kind: bytes, content: bytes, length: int | None = None) -> bytes:
        return struct.pack(">I", len(content) + 8 if length is None else length) + kind + content

    head = box(b"jumd", b"c2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\x03c2pa\0")
    inside = chance.choice(
        [
            chance.randbytes(300),
            box(b"jumb", head) * 500,
            box(b"jumb", head, 0xFFFFFFFF),
            box(b"jumb", head, 1) + b"\xff" * 8,
            box(b"cbor", b"\x9f" * 5_000),  # arrays in arrays
            box(b"cbor", b"\x9b" + b"\xff" * 8),  # an array of 2**64 items
            box(b"cbor", b"\x5b\x7f" + b"\xff" * 7),  # a text of 2**63 bytes
            box(b"json", b"[" * 5_000),
            box(b"brob", zlib.compress(b"a" * 2**20)),
        ]
    )
    for _ in range(chance.choice([0, 1, 200])):
        inside = box(b"jumb", head + inside)
    manifest = box(b"jumb", head + inside)
    if chance.random() < 0.3:
        manifest = manifest[: chance.randrange(8, len(manifest))] + b"c2pa"
    return chance.choice(
        [
            png_with(chunk(b"caBX", manifest)),
            jpeg_with(segment(0xEB, (b"JP\0\1\0\0\0\1" + manifest)[:65_000])),
            webp_with((b"C2PA", manifest, None)),
        ]
    )


def remote_manifest(address: str) -> Maker:
    """Files whose manifest is elsewhere: reading them must not ask for it."""

    def make(chance: random.Random) -> bytes:
        text = (
            f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}><rdf:Description rdf:about="" '
            f'xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="{address}?c2pa"/></rdf:RDF></x:xmpmeta>'
        )
        return in_any(chance, xmp=text.encode())

    return make


def polyglot(chance: random.Random) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("c2pa.html", "<script>alert(1)</script>")
    others = [
        packed.getvalue(),
        b"<html><script>1</script>",
        b"%PDF-1.7 c2pa",
        b"GIF89a",
        b"#!/bin/sh\n",
        b"<svg/>",
        picture(form="JPEG"),
    ]
    data, other = picture(form=chance.choice(["PNG", "JPEG", "WEBP"])), chance.choice(others)
    return chance.choice([data + other, other + data, data[:12] + other + data[12:], data[: len(data) // 2] + other])


def odd_texts(chance: random.Random) -> bytes:
    nodes = {
        str(n): {"class_type": "KSampler", "inputs": {"model": [str((n + 1) % 50), 0], "seed": [str(n), 0]}}
        for n in range(50)
    }
    text = chance.choice(
        [
            "Steps: 1, " * 5_000,
            "a\nSteps: 1, Seed: 2, Size: 3x4, " + "a: [{" * 5_000,
            "Negative prompt: " * 5_000 + "\nSteps: 1, Seed: 2, Size: 9999999x1",
            "a\nSteps: 1, Seed: " + "9" * 5_000 + ", Size: 1x1",
            json.dumps(nodes),
            "[" * 50_000,
            "{" + '"a":' * 20_000,
            "\ud800".encode("utf-8", "surrogatepass").decode("latin-1") * 100,
        ]
    )
    keyword = chance.choice([PARAMETERS, "prompt", "workflow", "Comment", XMP, "\xff" * 79])
    return embed_texts(picture(), {keyword: text, "c2pa": "c2pa"})


MAKERS: tuple[Maker, ...] = (
    truncated, flipped, wrong_length, many_parts, bomb, deep_xml, entities, odd_properties, directories, large_comments,
    c2pa_garbage, polyglot, odd_texts,
)  # fmt: skip


def hostile_files(seed: int, count: int, address: str) -> list[bytes]:
    """Return files of each kind in turn.

    Args:
        seed: Decides all of them.
        count: How many.
        address: Where some of them say that their manifest is.
    """
    chance = random.Random(seed)
    makers = (*MAKERS, remote_manifest(address))
    return [makers[number % len(makers)](chance) for number in range(count)]
