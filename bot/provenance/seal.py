"""Signed manifests (C2PA): the one module that knows the package c2pa-python, which is optional.

Remote manifests are never fetched: a stranger's file must not make this machine call an address. Thumbnails, which would
add 0.5 to 2.6 MB to each picture, are off.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bot.core.inspection import TRAINED, SealReport, SealState
from bot.provenance import manifests
from bot.provenance.a1111 import easel_version
from bot.provenance.facts import Facts

if TYPE_CHECKING:
    import c2pa

_QUIET = {
    "verify": {"remote_manifest_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
    "core": {"max_decompressed_manifest_size_in_mb": 1},
}

_REMOTE = "Remote:"
"""What the package's error begins with where a manifest is on the network."""

_BEGINNINGS = {
    "image/png": re.compile(rb"\x89PNG"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "image/avif": re.compile(rb"....ftypavi[fs]", re.DOTALL),
    "image/gif": re.compile(rb"GIF8"),
    "image/tiff": re.compile(rb"II\*\0|MM\0\*"),
}

_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"
)
"""A PNG of one black pixel."""

UNKNOWN_SIGNER = "signingCredential.untrusted"
"""Code of a manifest that is intact, and whose signer the reader does not know."""


class SealUnavailable(Exception):
    """Nothing can be signed: the package is not installed, or it takes neither certificate nor key. Says why."""


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A picture that another one was made from.

    Attributes:
        label: Its name in the manifest.
        data: Its file, a PNG, whose manifest goes along; empty where there is an archive.
        archive: What ``archive_of`` has made of it.
        relationship: C2PA's: ``inputTo`` for what a model was given, ``parentOf`` for the original of a copy.
    """

    label: str
    data: bytes = field(default=b"", repr=False)
    archive: bytes = field(default=b"", repr=False)
    relationship: str = "inputTo"


class Seal:
    """Signs pictures with the operator's certificate. Threads may share it."""

    def __init__(self, chain: bytes, key: bytes, *, tsa: str = "") -> None:
        """Args:
        chain: Certificates in PEM, the signing one first; its key is on the curve P-256.
        key: Its key in PEM (PKCS 8).
        tsa: URL of a time-stamping service; empty: no time stamps, and nothing is sent anywhere.

        Raises:
            SealUnavailable: The package is missing, or it can't sign with these keys.
        """
        try:
            import c2pa  # noqa: PLC0415 - optional
        except ImportError as error:
            raise SealUnavailable(str(error)) from error
        self._c2pa = c2pa
        self._chain, self._key = chain, key
        self.stamps = bool(tsa)
        """Whether a time-stamping service is asked."""
        self._context = c2pa.Context.from_dict(_QUIET)
        try:
            self._signer = self._new_signer(tsa)
            self._plain = self._new_signer("") if tsa else self._signer
        except c2pa.C2paError as error:
            raise SealUnavailable(str(error)) from None

    def _new_signer(self, tsa: str) -> c2pa.Signer:
        info = self._c2pa.C2paSignerInfo(
            alg=b"es256", sign_cert=self._chain, private_key=self._key, ta_url=tsa.encode() or None
        )
        return self._c2pa.Signer.from_info(info)

    def check(self) -> None:
        """Sign a picture of one pixel, without a time stamp. Raises SealUnavailable, as where the certificate has ended."""
        created = {"action": "c2pa.created", "digitalSourceType": TRAINED}
        self._sign(_PIXEL, "image/png", [created], [], stamped=False)

    def sign(
        self, data: bytes, mime: str, facts: Facts, sources: Sequence[Ingredient] = (), *, stamped: bool = True
    ) -> bytes:
        """Return the file with a signed manifest of 3 to 20 kB; nothing else of it changes. Blocks: run in a thread.

        Args:
            data: The file with all of its other marks: a later change of any byte breaks the signature.
            mime: ``image/png``, ``image/jpeg`` or ``image/webp``.
            facts: What the file says.
            sources: Pictures that it was drawn from, with their own manifests if they have some.
            stamped: Whether the time-stamping service is asked, if there is one.

        Raises:
            SealUnavailable: It can't be signed: the certificate has ended, or the time-stamping service did not answer.
        """
        ingredients = list({one.label: one for one in sources}.values())
        created = {
            "action": "c2pa.created",
            "when": _time(facts.created),
            "softwareAgent": {"name": f"Easel {facts.system}", "version": facts.system_version},
            "digitalSourceType": facts.source_type,
            **_uses(ingredients),
        }
        return self._sign(data, mime, [created], ingredients, stamped=stamped)

    def sign_copy(self, data: bytes, mime: str, original: bytes, source_type: str, *, stamped: bool = True) -> bytes:
        """Return a copy in another format or size, whose manifest names the original as its parent. Blocks.

        The parent's manifest travels along, so the copy says as much as the original.

        Args:
            data: The copy with all of its other marks.
            mime: ``image/png``, ``image/jpeg`` or ``image/webp``.
            original: The stored PNG.
            source_type: IPTC's DigitalSourceType of the picture.
            stamped: Whether the time-stamping service is asked, if there is one.

        Raises:
            SealUnavailable: As ``sign``.
        """
        parent = Ingredient("original", data=original, relationship="parentOf")
        opened = {"action": "c2pa.opened", **_uses([parent])}
        transcoded = {
            "action": "c2pa.transcoded",
            "when": _time(datetime.now(UTC)),
            "digitalSourceType": source_type,
        }
        return self._sign(data, mime, [opened, transcoded], [parent], stamped=stamped)

    def _sign(
        self,
        data: bytes,
        mime: str,
        actions: Sequence[Mapping[str, Any]],
        ingredients: Sequence[Ingredient],
        *,
        stamped: bool,
    ) -> bytes:
        manifest = {
            "claim_generator_info": [_generator()],
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
        }
        signed = io.BytesIO()
        try:
            builder = self._c2pa.Builder(manifest, self._context)
            for one in ingredients:
                if one.archive:
                    builder.add_ingredient_from_archive(io.BytesIO(one.archive))
                else:
                    builder.add_ingredient(_told(one), "image/png", io.BytesIO(one.data))
            builder.sign(self._signer if stamped else self._plain, mime, io.BytesIO(data), signed)
        except Exception as error:  # a source may be a stranger's; no fault of it may cost the picture
            raise SealUnavailable(f"{type(error).__name__}: {error}"[:300]) from error
        return signed.getvalue()


def archive_of(data: bytes, label: str) -> bytes:
    """Return a file's ingredient as an archive of its own, with what its manifest proves now. Blocks; nothing is fetched.

    Whatever is wrong with its manifest is noted in the archive: pictures that have it as ingredient stay valid.

    Args:
        data: A file of any origin.
        label: The ingredient's name in manifests.

    Raises:
        SealUnavailable: The package is missing, or the file's manifest can't be read.
    """
    if manifests.is_too_large(data):
        raise SealUnavailable("it is too large")
    mime = next((mime for mime, begin in _BEGINNINGS.items() if begin.match(data)), "")
    try:
        import c2pa  # noqa: PLC0415 - optional
    except ImportError as error:
        raise SealUnavailable(str(error)) from error
    archive = io.BytesIO()
    try:
        builder = c2pa.Builder({"claim_generator_info": [_generator()]}, c2pa.Context.from_dict(_QUIET))
        builder.add_ingredient(_told(Ingredient(label)), mime, io.BytesIO(data))
        builder.write_ingredient_archive(label, archive)
    except Exception as error:
        raise SealUnavailable(f"{type(error).__name__}: {error}"[:200]) from error
    return archive.getvalue()


def _generator() -> dict[str, str]:
    return {"name": "Easel", "version": easel_version()}


def _told(one: Ingredient) -> dict[str, str]:
    # The title is the same for all: file names are people's own.
    return {"title": "source", "relationship": one.relationship, "label": one.label}


def _uses(ingredients: Sequence[Ingredient]) -> dict[str, Any]:
    """Return the part of an action that names its ingredients."""
    return {"parameters": {"ingredientIds": [one.label for one in ingredients]}} if ingredients else {}


def _time(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def check_seal(data: bytes, mime: str, anchors: Sequence[bytes] = ()) -> SealReport:
    """Return what a file's manifest proves. Blocks: run in a thread; nothing is fetched.

    Args:
        data: The file.
        mime: Its media type.
        anchors: Root certificates in PEM whose signers are trusted.
    """
    if not _has_manifest(data):
        return SealReport(SealState.NONE)
    if manifests.is_too_large(data):
        return SealReport(SealState.TOO_LARGE)
    try:
        import c2pa  # noqa: PLC0415 - optional
    except ImportError:
        return SealReport(SealState.UNCHECKED)
    trust = {"trust": {"user_anchors": b"\n".join(anchors).decode("ascii", "ignore")}} if anchors else {}
    try:
        reader = c2pa.Reader.try_create(mime, io.BytesIO(data), context=c2pa.Context.from_dict({**_QUIET, **trust}))
        if reader is None:
            return SealReport(SealState.NONE)
        with reader:
            found = json.loads(reader.json())
    except (c2pa.C2paError, ValueError, RecursionError) as error:
        if str(error).startswith(_REMOTE):
            return SealReport(SealState.REMOTE)
        return SealReport(SealState.BROKEN, problems=(type(error).__name__,))
    return _report(found)


def _has_manifest(data: bytes) -> bool:
    # The label of C2PA's box (JUMBF) stands in every file with a manifest; most files have none, and need no parser.
    return b"c2pa" in data


def _report(found: dict[str, Any]) -> SealReport:
    problems = tuple(str(one.get("code", "")) for one in found.get("validation_status") or ())
    broken = tuple(code for code in problems if code != UNKNOWN_SIGNER)
    state = {"Trusted": SealState.TRUSTED, "Valid": SealState.UNKNOWN_SIGNER}.get(
        str(found.get("validation_state")), SealState.BROKEN
    )
    manifest = (found.get("manifests") or {}).get(found.get("active_manifest")) or {}
    signature = manifest.get("signature_info") or {}
    names = (str(signature.get(field) or "") for field in ("issuer", "common_name"))
    generators = manifest.get("claim_generator_info") or [{}]
    actions = [
        action
        for assertion in manifest.get("assertions") or ()
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in (assertion.get("data") or {}).get("actions") or ()
    ]
    return SealReport(
        state=state,
        signer=", ".join(name for name in names if name),
        generator=" ".join(str(generators[0].get(field) or "") for field in ("name", "version")).strip(),
        source_type=next((str(one["digitalSourceType"]) for one in actions if one.get("digitalSourceType")), ""),
        problems=broken,
    )
