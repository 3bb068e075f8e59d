"""SQL of passwords, passkeys and API keys."""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.sign_in import ApiKey, Passkey
from bot.storage.database import Tx
from bot.storage.people import OF_SAME_PERSON
from bot.storage.sql import RowMapper


@dataclass(frozen=True, slots=True)
class StoredPassword:
    """A password's row."""

    account_id: int
    login: str
    hash: str


@dataclass(frozen=True, slots=True)
class KeyAccount:
    """A valid API key's row with its account."""

    id: int
    account_id: int
    used_at: float | None
    platform: str
    user_id: str
    name: str


_PASSWORDS = RowMapper(StoredPassword, "passwords")
_PASSKEYS = RowMapper(Passkey, "passkeys")
_NEW_PASSKEYS = RowMapper(Passkey, "passkeys", omit={"id"})
_JOINED = "FROM api_keys k JOIN accounts a ON a.id = k.account_id"
_KEYS = RowMapper(
    ApiKey,
    columns={
        **{name: f"k.{name}" for name in ("id", "name", "prefix", "created_by", "created_at", "used_at", "revoked_at")},
        "platform": "a.platform",
        "user_id": "a.user_id",
    },
)
_KEY_ACCOUNTS = RowMapper(
    KeyAccount,
    columns={
        **{name: f"k.{name}" for name in ("id", "account_id", "used_at")},
        **{name: f"a.{name}" for name in ("platform", "user_id", "name")},
    },
)


async def get_password(tx: Tx, login: str) -> StoredPassword | None:
    """Return the password of a name, or None."""
    return await _PASSWORDS.select_one(tx, "WHERE login = ?", (login,))


async def password_of(tx: Tx, account_id: int) -> StoredPassword | None:
    """Return the password of an account's person, or None."""
    return await _PASSWORDS.select_one(tx, f"WHERE {OF_SAME_PERSON} ORDER BY account_id", (account_id,))


async def put_password(tx: Tx, account_id: int, login: str, hashed: str, now: float) -> None:
    """Store an account's password; the one before is replaced."""
    await tx.execute_fetchall(
        "INSERT INTO passwords (account_id, login, hash, changed_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (account_id) DO UPDATE SET login = excluded.login, hash = excluded.hash,"
        " changed_at = excluded.changed_at",
        (account_id, login, hashed, now),
    )


async def put_hash(tx: Tx, account_id: int, before: str, hashed: str) -> None:
    """Replace the hash of a password by another one of the same password, unless it was changed meanwhile."""
    await tx.execute_fetchall(
        "UPDATE passwords SET hash = ? WHERE account_id = ? AND hash = ?", (hashed, account_id, before)
    )


async def add_passkey(tx: Tx, passkey: Passkey) -> bool:
    """Store a passkey, which gets a number of its own; returns False if its credential id is known already."""
    return bool(list(await _NEW_PASSKEYS.insert(tx, passkey, "ON CONFLICT DO NOTHING RETURNING id")))


async def get_passkey(tx: Tx, credential_id: str) -> Passkey | None:
    """Return the passkey of a browser's id, or None."""
    return await _PASSKEYS.select_one(tx, "WHERE credential_id = ?", (credential_id,))


async def passkeys_of(tx: Tx, account_id: int) -> tuple[Passkey, ...]:
    """Return the passkeys of an account's person, the oldest first."""
    return await _PASSKEYS.select(tx, f"WHERE {OF_SAME_PERSON} ORDER BY id", (account_id,))


async def use_passkey(tx: Tx, passkey_id: int, sign_count: int, now: float) -> None:
    """Record that a passkey was used, with its authenticator's counter."""
    await tx.execute_fetchall(
        "UPDATE passkeys SET sign_count = ?, used_at = ? WHERE id = ?", (sign_count, now, passkey_id)
    )


async def remove_passkey(tx: Tx, account_id: int, passkey_id: int) -> bool:
    """Delete a passkey of an account's person; returns whether there was one."""
    cursor = await tx.execute(f"DELETE FROM passkeys WHERE {OF_SAME_PERSON} AND id = ?", (account_id, passkey_id))  # noqa: S608
    return cursor.rowcount == 1


async def add_key(
    tx: Tx, account_id: int, digest: str, name: str, prefix: str, *, created_by: str, now: float
) -> int | None:
    """Store an API key; returns its number, or None if a valid key has this name."""
    rows = await tx.execute_fetchall(
        "INSERT OR IGNORE INTO api_keys (account_id, digest, name, prefix, created_by, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
        (account_id, digest, name, prefix, created_by, now),
    )
    return next((int(row[0]) for row in rows), None)


async def key_account(tx: Tx, digest: str) -> KeyAccount | None:
    """Return the account of a valid API key, or None."""
    return await _KEY_ACCOUNTS.fetch_one(
        tx,
        f"SELECT {_KEY_ACCOUNTS.columns} {_JOINED} WHERE k.digest = ? AND k.revoked_at IS NULL",
        (digest,),
    )


async def touch_key(tx: Tx, key_id: int, now: float) -> None:
    """Record that an API key was used."""
    await tx.execute_fetchall("UPDATE api_keys SET used_at = ? WHERE id = ?", (now, key_id))


async def all_keys(tx: Tx) -> tuple[ApiKey, ...]:
    """Return all API keys, those that are valid first, the oldest first."""
    return await _KEYS.fetch(
        tx,
        f"SELECT {_KEYS.columns} {_JOINED} ORDER BY k.revoked_at IS NOT NULL, k.id",
    )


async def keys_of(tx: Tx, account_id: int) -> tuple[ApiKey, ...]:
    """Return the valid API keys of an account's person, the oldest first."""
    return await _KEYS.fetch(
        tx,
        f"SELECT {_KEYS.columns} {_JOINED} WHERE k.{OF_SAME_PERSON} AND k.revoked_at IS NULL ORDER BY k.id",
        (account_id,),
    )


async def find_key(tx: Tx, name: str) -> ApiKey | None:
    """Return the valid API key of a name or a number, or None."""
    return await _KEYS.fetch_one(
        tx,
        f"SELECT {_KEYS.columns} {_JOINED} WHERE k.revoked_at IS NULL AND (k.name = ?1 OR CAST(k.id AS TEXT) = ?1)"
        " ORDER BY k.name = ?1 DESC LIMIT 1",
        (name,),
    )


async def revoke_key(tx: Tx, key_id: int, now: float) -> bool:
    """Revoke an API key; returns whether it was valid."""
    cursor = await tx.execute("UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, key_id))
    return cursor.rowcount == 1
