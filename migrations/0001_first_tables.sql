-- The first tables: who asked, where, for what, what came of it, where it is shown, and what it cost.
-- People and accounts are two tables from the start, so that one person may later join several accounts.
-- Times are Unix seconds (REAL). Job ids are never used twice (AUTOINCREMENT), since buttons carry them.

CREATE TABLE people (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL DEFAULT '',
    created_at  REAL    NOT NULL
) STRICT;

CREATE TABLE accounts (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    person_id   INTEGER NOT NULL REFERENCES people (id),
    platform    TEXT    NOT NULL,
    user_id     TEXT    NOT NULL,
    name        TEXT    NOT NULL DEFAULT '',
    created_at  REAL    NOT NULL,
    UNIQUE (platform, user_id)
) STRICT;
CREATE INDEX accounts_by_person ON accounts (person_id);

-- A server or a group. Direct messages have no place: nobody sets rules there.
CREATE TABLE places (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    platform    TEXT    NOT NULL,
    guild       TEXT    NOT NULL,
    name        TEXT    NOT NULL DEFAULT '',
    created_at  REAL    NOT NULL,
    UNIQUE (platform, guild)
) STRICT;

CREATE TABLE jobs (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    state       TEXT    NOT NULL CHECK (state IN ('held', 'queued', 'running', 'painted', 'delivered', 'cancelled', 'failed')),
    -- The platform's own name of the event; one event is one job however often it comes.
    event       TEXT    NOT NULL UNIQUE,
    person_id   INTEGER NOT NULL REFERENCES people (id),
    account_id  INTEGER NOT NULL REFERENCES accounts (id),
    place_id    INTEGER REFERENCES places (id),
    parent_id   INTEGER REFERENCES jobs (id),
    locale      TEXT    NOT NULL,
    asker       TEXT    NOT NULL DEFAULT '',
    -- The checked request.
    prompt      TEXT    NOT NULL,
    typed       TEXT    NOT NULL,
    negative    TEXT    NOT NULL DEFAULT '',
    width       INTEGER NOT NULL,
    height      INTEGER NOT NULL,
    steps       INTEGER NOT NULL,
    guidance    REAL    NOT NULL,
    seed        INTEGER NOT NULL,
    count       INTEGER NOT NULL CHECK (count BETWEEN 1 AND 16),
    model       TEXT    NOT NULL,
    style       TEXT    NOT NULL DEFAULT '',
    private     INTEGER NOT NULL DEFAULT 0,
    notes       TEXT    NOT NULL DEFAULT '[]',
    -- How it went.
    attempts    INTEGER NOT NULL DEFAULT 0,
    error       TEXT    NOT NULL DEFAULT '',
    seconds     REAL    NOT NULL DEFAULT 0,
    created_at  REAL    NOT NULL,
    started_at  REAL,
    ended_at    REAL
) STRICT;
CREATE INDEX jobs_open ON jobs (state, id) WHERE state IN ('held', 'queued', 'running', 'painted');
CREATE INDEX jobs_by_person ON jobs (person_id, id);

CREATE TABLE pictures (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id      INTEGER NOT NULL REFERENCES jobs (id),
    "index"     INTEGER NOT NULL,
    seed        INTEGER NOT NULL,
    path        TEXT    NOT NULL UNIQUE,
    width       INTEGER NOT NULL,
    height      INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    seconds     REAL    NOT NULL,
    created_at  REAL    NOT NULL,
    UNIQUE (job_id, "index")
) STRICT;

-- What is shown where. Written before it is sent, so that nothing is lost and nothing is sent twice.
CREATE TABLE messages (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    kind        TEXT    NOT NULL CHECK (kind IN ('card', 'notice', 'album', 'document')),
    state       TEXT    NOT NULL CHECK (state IN ('opening', 'wanted', 'sending', 'shown', 'unclear', 'gone')),
    -- Unique name of what caused it; the same event twice is one message.
    event       TEXT    NOT NULL UNIQUE,
    job_id      INTEGER REFERENCES jobs (id),
    platform    TEXT    NOT NULL,
    chat        TEXT    NOT NULL,
    message     TEXT,
    address     TEXT    NOT NULL,
    card        TEXT    NOT NULL DEFAULT '',
    shown       TEXT    NOT NULL DEFAULT '',
    created_at  REAL    NOT NULL,
    updated_at  REAL    NOT NULL
) STRICT;
CREATE INDEX messages_by_job ON messages (job_id);
CREATE INDEX messages_open ON messages (state, id) WHERE state IN ('opening', 'wanted', 'sending');

-- Quota rules. An owner's rule is a ceiling that a place's own rule can only narrow.
CREATE TABLE policies (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    platform    TEXT,
    place       TEXT,
    role        TEXT,
    person      TEXT,
    pictures    INTEGER,
    "window"    TEXT    NOT NULL CHECK ("window" IN ('hour', 'day', 'week')),
    by_owner    INTEGER NOT NULL,
    set_by      TEXT    NOT NULL,
    set_at      REAL    NOT NULL
) STRICT;
CREATE UNIQUE INDEX policies_once ON policies
    (by_owner, coalesce(platform, ''), coalesce(place, ''), coalesce(role, ''), coalesce(person, ''));

-- Append-only. What counts against a quota is the sum of reserved and charged over counted_at in the window.
-- reserve (+n, 0) at admission; charge (-k, +k) for what was painted; refund (-m, 0) for what was not.
CREATE TABLE ledger (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id      INTEGER NOT NULL REFERENCES jobs (id),
    person_id   INTEGER NOT NULL REFERENCES people (id),
    place_id    INTEGER REFERENCES places (id),
    kind        TEXT    NOT NULL CHECK (kind IN ('reserve', 'charge', 'refund')),
    reserved    INTEGER NOT NULL,
    charged     INTEGER NOT NULL,
    counted_at  REAL    NOT NULL,
    written_at  REAL    NOT NULL,
    UNIQUE (job_id, kind)
) STRICT;
CREATE INDEX ledger_by_person ON ledger (person_id, counted_at);

-- Who changed which rule, from what to what.
CREATE TABLE audit (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at          REAL    NOT NULL,
    actor       TEXT    NOT NULL,
    platform    TEXT,
    place       TEXT,
    action      TEXT    NOT NULL,
    before      TEXT    NOT NULL DEFAULT '',
    after       TEXT    NOT NULL DEFAULT ''
) STRICT;
