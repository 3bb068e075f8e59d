-- Signing in to the page, and API keys. Every secret is stored as a digest alone, so that a copy of the database opens nothing.
-- A session acts as one account. The place is that of an admin whose link came from there.
CREATE TABLE sessions (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    digest       TEXT    NOT NULL UNIQUE,
    account_id   INTEGER NOT NULL REFERENCES accounts (id),
    method       TEXT    NOT NULL CHECK (method IN ('token', 'link', 'passkey', 'password')),
    -- Digest of the page's token where it opened the session: a new token ends it.
    token_digest TEXT    NOT NULL DEFAULT '',
    place_id     INTEGER REFERENCES places (id),
    browser      TEXT    NOT NULL DEFAULT '',
    created_at   REAL    NOT NULL,
    used_at      REAL    NOT NULL
) STRICT;
CREATE INDEX sessions_by_account ON sessions (account_id);

-- One-time links: into the account that asked for one in a chat, or an owner's invitation. An invitation without an account
-- makes a new one.
CREATE TABLE sign_in_links (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         TEXT    NOT NULL CHECK (kind IN ('chat', 'invitation')),
    digest       TEXT    NOT NULL UNIQUE,
    account_id   INTEGER REFERENCES accounts (id),
    place_id     INTEGER REFERENCES places (id),
    name         TEXT    NOT NULL DEFAULT '',
    quota        TEXT    NOT NULL DEFAULT '',
    created_by   TEXT    NOT NULL,
    created_at   REAL    NOT NULL,
    expires_at   REAL    NOT NULL,
    used_at      REAL
) STRICT;
CREATE INDEX sign_in_links_by_account ON sign_in_links (account_id);

-- The name to sign in with is in NFKC and in lower case.
CREATE TABLE passwords (
    account_id   INTEGER PRIMARY KEY REFERENCES accounts (id),
    login        TEXT    NOT NULL UNIQUE,
    hash         TEXT    NOT NULL,
    changed_at   REAL    NOT NULL
) STRICT;

-- Ids and public keys in base64url, as browsers write them.
CREATE TABLE passkeys (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id    INTEGER NOT NULL REFERENCES accounts (id),
    credential_id TEXT    NOT NULL UNIQUE,
    public_key    TEXT    NOT NULL,
    host          TEXT    NOT NULL,
    sign_count    INTEGER NOT NULL,
    name          TEXT    NOT NULL DEFAULT '',
    created_at    REAL    NOT NULL,
    used_at       REAL
) STRICT;
CREATE INDEX passkeys_by_account ON passkeys (account_id);

CREATE TABLE api_keys (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id   INTEGER NOT NULL REFERENCES accounts (id),
    digest       TEXT    NOT NULL UNIQUE,
    name         TEXT    NOT NULL,
    -- The first letters, by which people tell their keys apart.
    prefix       TEXT    NOT NULL,
    created_by   TEXT    NOT NULL,
    created_at   REAL    NOT NULL,
    used_at      REAL,
    revoked_at   REAL
) STRICT;
CREATE INDEX api_keys_by_account ON api_keys (account_id);
CREATE UNIQUE INDEX api_keys_once ON api_keys (name) WHERE revoked_at IS NULL;
