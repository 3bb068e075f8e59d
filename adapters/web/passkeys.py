"""Passkeys at the page: what browsers are asked, and the verification of what they answer (WebAuthn level 2, by py_webauthn)."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import struct
import time
from collections.abc import Callable
from typing import Any

from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from adapters.web.client_address import ClientAddress, parse_ip
from adapters.web.request_checks import host_of
from bot.core.errors import BadInput, NotAllowed
from bot.core.sign_in import Passkey

CHALLENGE_SECONDS = 300.0
"""How long a browser may take to answer."""

_PURPOSE_REGISTER, _PURPOSE_SIGN_IN = "register", "sign in"
_STAMP = struct.Struct(">d")
_RANDOM_BYTES = 16
_MAC_BYTES = 32


class Challenges:
    """Challenges that are good for one purpose, once and for a few minutes.

    They carry their own time and signature, so asking for many of them takes no memory.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._used: dict[bytes, float] = {}

    def create(self, purpose: str) -> bytes:
        """Return a new challenge."""
        head = _STAMP.pack(self._clock()) + secrets.token_bytes(_RANDOM_BYTES)
        return head + self._mac(head, purpose)

    def use(self, challenge: bytes, purpose: str) -> None:
        """Use a challenge up. Raises NotAllowed if it is not this process's, too old, used, or for another purpose."""
        now = self._clock()
        self._used = {one: at for one, at in self._used.items() if now - at < CHALLENGE_SECONDS}
        head, mac = challenge[:-_MAC_BYTES], challenge[-_MAC_BYTES:]
        if (
            len(head) != _STAMP.size + _RANDOM_BYTES
            or not hmac.compare_digest(mac, self._mac(head, purpose))
            or not 0 <= now - _STAMP.unpack(head[: _STAMP.size])[0] < CHALLENGE_SECONDS
            or challenge in self._used
        ):
            raise NotAllowed("refusal.passkey.wrong")
        self._used[challenge] = now

    def _mac(self, head: bytes, purpose: str) -> bytes:
        return hmac.digest(self._secret, head + purpose.encode(), hashlib.sha256)


class PasskeyVerifier:
    """Makes the options for ``navigator.credentials`` and verifies its answers."""

    def __init__(self, challenges: Challenges | None = None) -> None:
        self._challenges = challenges or Challenges()

    def registration_options(
        self, client: ClientAddress, subject: str, name: str, known: tuple[Passkey, ...] = ()
    ) -> dict[str, Any]:
        """Return the options for a new passkey.

        Args:
            client: Where the request comes from.
            subject: Whom it is for: an account, or an invitation.
            name: The name that the browser shows with it.
            known: Their passkeys; their authenticators refuse another one.

        Raises:
            BadInput: Browsers accept no passkeys at this address.
        """
        options = generate_registration_options(
            rp_id=host_for(client),
            rp_name="Easel",
            user_name=name,
            user_id=hashlib.sha256(subject.encode()).digest(),
            challenge=self._challenges.create(f"{_PURPOSE_REGISTER} {subject}"),
            timeout=int(CHALLENGE_SECONDS * 1000),
            # Without a name to type: the browser itself lists the passkeys of this host.
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(base64url_to_bytes(one.credential_id)) for one in known],
        )
        return _as_json(options_to_json(options))

    def register(self, client: ClientAddress, subject: str, name: str, answer: dict[str, Any]) -> Passkey:
        """Return the verified new passkey, without its account and time. Raises BadInput and NotAllowed."""
        host = host_for(client)
        challenge = self._used_challenge(answer, f"{_PURPOSE_REGISTER} {subject}")
        try:
            found = verify_registration_response(
                credential=answer,
                expected_challenge=challenge,
                expected_rp_id=host,
                expected_origin=_origin(client),
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, KeyError, TypeError):
            raise NotAllowed("refusal.passkey.wrong") from None
        return Passkey(
            id=0,
            account_id=0,
            credential_id=bytes_to_base64url(found.credential_id),
            public_key=bytes_to_base64url(found.credential_public_key),
            host=host,
            sign_count=found.sign_count,
            name=name,
            created_at=0.0,
            used_at=None,
        )

    def sign_in_options(self, client: ClientAddress) -> dict[str, Any]:
        """Return the options for a sign-in with any passkey of this host. Raises BadInput."""
        options = generate_authentication_options(
            rp_id=host_for(client),
            challenge=self._challenges.create(_PURPOSE_SIGN_IN),
            timeout=int(CHALLENGE_SECONDS * 1000),
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return _as_json(options_to_json(options))

    def verify(self, client: ClientAddress, passkey: Passkey, answer: dict[str, Any]) -> int:
        """Verify the answer to a sign-in; returns the authenticator's counter. Raises BadInput and NotAllowed."""
        challenge = self._used_challenge(answer, _PURPOSE_SIGN_IN)
        try:
            found = verify_authentication_response(
                credential=answer,
                expected_challenge=challenge,
                expected_rp_id=host_for(client),
                expected_origin=_origin(client),
                credential_public_key=base64url_to_bytes(passkey.public_key),
                credential_current_sign_count=passkey.sign_count,
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, KeyError, TypeError):
            raise NotAllowed("refusal.passkey.wrong") from None
        return found.new_sign_count

    def _used_challenge(self, answer: dict[str, Any], purpose: str) -> bytes:
        try:
            data = json.loads(base64url_to_bytes(answer["response"]["clientDataJSON"]))
            challenge = base64url_to_bytes(data["challenge"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise NotAllowed("refusal.passkey.wrong") from None
        self._challenges.use(challenge, purpose)
        return challenge


def host_for(client: ClientAddress) -> str:
    """Return the host that passkeys belong to. Raises BadInput where browsers accept none."""
    host = host_of(client.host)
    if parse_ip(host) is not None or (client.scheme != "https" and host != "localhost"):
        raise BadInput("refusal.passkey.address")
    return host


def _origin(client: ClientAddress) -> str:
    # Browsers leave the usual port out.
    return f"{client.scheme}://{client.host.lower()}".removesuffix(":443" if client.scheme == "https" else ":80")


def _as_json(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found
