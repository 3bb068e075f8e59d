-- Rules that say more than one number, credits, who may come in, bans, options of places, and changes that can be undone.

-- A rule's terms are JSON: {"limits": [{"amount": 20, "window": "day", "unit": "pictures"}], "at_once": 2, ...}.
CREATE TABLE new_policies (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    platform    TEXT,
    place       TEXT,
    channel     TEXT,
    role        TEXT,
    person      TEXT,
    terms       TEXT    NOT NULL,
    by_owner    INTEGER NOT NULL,
    set_by      TEXT    NOT NULL,
    set_at      REAL    NOT NULL
) STRICT;
INSERT INTO new_policies (id, platform, place, role, person, terms, by_owner, set_by, set_at)
    SELECT id, platform, place, role, person,
        json_object('limits', json_array(json_object('amount', pictures, 'window', "window"))), by_owner, set_by, set_at
    FROM policies;
DROP TABLE policies;
ALTER TABLE new_policies RENAME TO policies;
CREATE UNIQUE INDEX policies_once ON policies
    (by_owner, coalesce(platform, ''), coalesce(place, ''), coalesce(channel, ''), coalesce(role, ''), coalesce(person, ''));

-- What a picture of the job costs, in thousandths of a point; and how many of its pictures credits pay for. Like reserved
-- and charged, free (by an owner's credits) and free_here (by the place's own) are changes: the sum of a job's lines holds.
ALTER TABLE ledger ADD COLUMN cost_each INTEGER NOT NULL DEFAULT 1000;
ALTER TABLE ledger ADD COLUMN free      INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ledger ADD COLUMN free_here INTEGER NOT NULL DEFAULT 0;
-- Where it was asked for, for rules of a channel; empty in direct messages and on the page.
ALTER TABLE jobs   ADD COLUMN channel   TEXT    NOT NULL DEFAULT '';
ALTER TABLE ledger ADD COLUMN channel   TEXT    NOT NULL DEFAULT '';
-- What counts in each quarter of an hour, so that nobody's request waits while tens of thousands of lines are summed up.
-- Kept by the ledger's own triggers, and for nine days: no rule looks back further. The columns are pictures that count
-- against the owner's rules and against the place's own, and the same in thousandths of a point. place_id 0: none.
CREATE TABLE tallies (
    person_id   INTEGER NOT NULL,
    slot        INTEGER NOT NULL,
    place_id    INTEGER NOT NULL,
    channel     TEXT    NOT NULL,
    owner       INTEGER NOT NULL,
    own         INTEGER NOT NULL,
    owner_cost  INTEGER NOT NULL,
    own_cost    INTEGER NOT NULL,
    PRIMARY KEY (person_id, slot, place_id, channel)
) STRICT, WITHOUT ROWID;
INSERT INTO tallies
    SELECT person_id, CAST(counted_at / 900 AS INTEGER), coalesce(place_id, 0), channel, sum(reserved - free),
        sum(reserved - free - free_here), sum((reserved - free) * cost_each), sum((reserved - free - free_here) * cost_each)
    FROM ledger WHERE kind <> 'charge' GROUP BY 1, 2, 3, 4;
-- A charge moves pictures from reserved to charged: it changes no sum.
CREATE TRIGGER ledger_counts AFTER INSERT ON ledger WHEN NEW.kind <> 'charge'
BEGIN
    INSERT INTO tallies VALUES (NEW.person_id, CAST(NEW.counted_at / 900 AS INTEGER), coalesce(NEW.place_id, 0), NEW.channel,
        NEW.reserved - NEW.free, NEW.reserved - NEW.free - NEW.free_here, (NEW.reserved - NEW.free) * NEW.cost_each,
        (NEW.reserved - NEW.free - NEW.free_here) * NEW.cost_each)
        ON CONFLICT DO UPDATE SET owner = owner + excluded.owner, own = own + excluded.own,
            owner_cost = owner_cost + excluded.owner_cost, own_cost = own_cost + excluded.own_cost;
    DELETE FROM tallies WHERE person_id = NEW.person_id AND slot < CAST(NEW.counted_at / 900 AS INTEGER) - 9 * 96;
END;
-- Accounts are joined and parted: what was drawn changes hands.
CREATE TRIGGER ledger_changes_hands AFTER UPDATE OF person_id ON ledger
WHEN NEW.kind <> 'charge' AND NEW.person_id <> OLD.person_id
BEGIN
    INSERT INTO tallies VALUES (OLD.person_id, CAST(OLD.counted_at / 900 AS INTEGER), coalesce(OLD.place_id, 0), OLD.channel,
        OLD.free - OLD.reserved, OLD.free + OLD.free_here - OLD.reserved, (OLD.free - OLD.reserved) * OLD.cost_each,
        (OLD.free + OLD.free_here - OLD.reserved) * OLD.cost_each)
        ON CONFLICT DO UPDATE SET owner = owner + excluded.owner, own = own + excluded.own,
            owner_cost = owner_cost + excluded.owner_cost, own_cost = own_cost + excluded.own_cost;
    INSERT INTO tallies VALUES (NEW.person_id, CAST(NEW.counted_at / 900 AS INTEGER), coalesce(NEW.place_id, 0), NEW.channel,
        NEW.reserved - NEW.free, NEW.reserved - NEW.free - NEW.free_here, (NEW.reserved - NEW.free) * NEW.cost_each,
        (NEW.reserved - NEW.free - NEW.free_here) * NEW.cost_each)
        ON CONFLICT DO UPDATE SET owner = owner + excluded.owner, own = own + excluded.own,
            owner_cost = owner_cost + excluded.owner_cost, own_cost = own_cost + excluded.own_cost;
END;

-- Pictures given on top of the rules until they expire. What was spent of borrowed ones counts after that as drawn.
CREATE TABLE credits (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    person_id   INTEGER NOT NULL REFERENCES people (id),
    place_id    INTEGER REFERENCES places (id),
    kind        TEXT    NOT NULL CHECK (kind IN ('bonus', 'borrowed')),
    pictures    INTEGER NOT NULL CHECK (pictures > 0),
    by_owner    INTEGER NOT NULL,
    given_by    TEXT    NOT NULL,
    given_at    REAL    NOT NULL,
    expires_at  REAL    NOT NULL,
    revoked_at  REAL,
    -- The platform's own name of what gave them; one event gives once however often it comes.
    event       TEXT    NOT NULL UNIQUE
) STRICT;
CREATE INDEX credits_by_person ON credits (person_id, expires_at);

-- Append-only: spend (+n) at admission, return (-m) for what was not painted.
CREATE TABLE credit_uses (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    credit_id   INTEGER NOT NULL REFERENCES credits (id),
    job_id      INTEGER NOT NULL REFERENCES jobs (id),
    kind        TEXT    NOT NULL CHECK (kind IN ('spend', 'return')),
    pictures    INTEGER NOT NULL,
    written_at  REAL    NOT NULL,
    UNIQUE (credit_id, job_id, kind)
) STRICT;
CREATE INDEX credit_uses_by_job ON credit_uses (job_id);

-- How many somebody has waiting is asked at each request.
CREATE INDEX jobs_waiting ON jobs (person_id, place_id) WHERE state IN ('held', 'queued', 'running');

-- What others write to name an account, in lower case, so that "@ada" can be banned who is not there to be pointed at.
ALTER TABLE accounts ADD COLUMN handle TEXT NOT NULL DEFAULT '';
CREATE INDEX accounts_by_handle ON accounts (platform, handle) WHERE handle <> '';

-- What was set by somebody: of a place, or of the whole service (place_id 0). Values are JSON.
CREATE TABLE options (
    place_id    INTEGER NOT NULL,
    name        TEXT    NOT NULL,
    value       TEXT    NOT NULL,
    PRIMARY KEY (place_id, name)
) STRICT;

-- Who runs this Easel, beside those whom the settings name.
CREATE TABLE owners (
    platform    TEXT    NOT NULL,
    user_id     TEXT    NOT NULL,
    name        TEXT    NOT NULL DEFAULT '',
    locale      TEXT    NOT NULL DEFAULT '',
    since       REAL    NOT NULL,
    PRIMARY KEY (platform, user_id)
) STRICT;

-- Short codes that are typed once: to claim a bot, to join two accounts. Only their digests are kept.
CREATE TABLE codes (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    kind        TEXT    NOT NULL CHECK (kind IN ('claim', 'link')),
    digest      TEXT    NOT NULL,
    account_id  INTEGER REFERENCES accounts (id),
    expires_at  REAL    NOT NULL,
    tries_left  INTEGER NOT NULL,
    used_at     REAL
) STRICT;
CREATE INDEX codes_by_kind ON codes (kind, expires_at);

-- Who may come in: one row for each stranger, however often they ask.
CREATE TABLE access (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    platform    TEXT    NOT NULL,
    kind        TEXT    NOT NULL CHECK (kind IN ('place', 'person')),
    subject     TEXT    NOT NULL,
    name        TEXT    NOT NULL DEFAULT '',
    state       TEXT    NOT NULL CHECK (state IN ('asked', 'allowed', 'refused')),
    asked_at    REAL    NOT NULL,
    told_at     REAL,
    decided_by  TEXT    NOT NULL DEFAULT '',
    decided_at  REAL,
    UNIQUE (platform, kind, subject)
) STRICT;
CREATE INDEX access_open ON access (id) WHERE state = 'asked';

-- Whoever has been given pictures before is no stranger: an update locks nobody out.
INSERT INTO access (platform, kind, subject, name, state, asked_at, told_at, decided_by, decided_at)
    SELECT p.platform, 'place', p.guild, p.name, 'allowed', min(j.created_at), min(j.created_at), 'operator', min(j.created_at)
    FROM jobs j JOIN places p ON p.id = j.place_id WHERE j.state = 'delivered' GROUP BY p.id;
INSERT INTO access (platform, kind, subject, name, state, asked_at, told_at, decided_by, decided_at)
    SELECT a.platform, 'person', a.user_id, a.name, 'allowed', min(j.created_at), min(j.created_at), 'operator', min(j.created_at)
    FROM jobs j JOIN accounts a ON a.id = j.account_id WHERE j.state = 'delivered' AND a.platform <> 'web' GROUP BY a.id;

-- place_id 0: everywhere. until NULL: for good.
CREATE TABLE bans (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    platform    TEXT    NOT NULL,
    user_id     TEXT    NOT NULL,
    place_id    INTEGER NOT NULL DEFAULT 0,
    until       REAL,
    reason      TEXT    NOT NULL DEFAULT '',
    set_by      TEXT    NOT NULL,
    set_at      REAL    NOT NULL,
    UNIQUE (platform, user_id, place_id)
) STRICT;
CREATE INDEX bans_by_place ON bans (place_id, set_at);

-- Refusals by moderation, of late: who goes on is slowed down.
CREATE TABLE strikes (
    account_id  INTEGER PRIMARY KEY REFERENCES accounts (id),
    count       INTEGER NOT NULL,
    last_at     REAL    NOT NULL
) STRICT;

-- How strict the place was when a job was asked for: its pictures are judged by that.
ALTER TABLE jobs ADD COLUMN strictness TEXT NOT NULL DEFAULT 'off';

-- What moderation says of a picture: empty, or 'spoiler'. And on what it was drawn, for those who draw it again.
ALTER TABLE pictures ADD COLUMN flag   TEXT NOT NULL DEFAULT '';
ALTER TABLE pictures ADD COLUMN device TEXT NOT NULL DEFAULT '';

-- kind and subject name what was changed, before and after are JSON then: so that a change can be undone.
ALTER TABLE audit ADD COLUMN kind      TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN subject   TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN undoes    INTEGER REFERENCES audit (id);
CREATE INDEX audit_by_place ON audit (platform, place, id);
CREATE INDEX audit_undone ON audit (undoes) WHERE undoes IS NOT NULL;

-- Jobs whose person had them forgotten: nothing of them is kept but what was counted.
ALTER TABLE jobs ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
-- What still shows a forgotten job; it is taken away as its platform allows.
ALTER TABLE messages ADD COLUMN unwanted INTEGER NOT NULL DEFAULT 0;
CREATE INDEX messages_unwanted_open ON messages (job_id) WHERE unwanted = 1;
-- What a notice says is kept until it is shown, and no longer.
UPDATE messages SET card = '' WHERE kind = 'notice' AND state IN ('shown', 'unclear', 'gone');

-- Pictures are swept from the oldest on.
CREATE INDEX pictures_by_age ON pictures (created_at, id);

-- One's own data on its way out, for a day: sent in parts to address, or fetched once by a link of which only the digest
-- is kept (address is empty then).
CREATE TABLE exports (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    person_id   INTEGER NOT NULL REFERENCES people (id),
    state       TEXT    NOT NULL CHECK (state IN ('wanted', 'ready')),
    address     TEXT    NOT NULL DEFAULT '',
    digest      TEXT    NOT NULL DEFAULT '',
    locale      TEXT    NOT NULL,
    asked_at    REAL    NOT NULL,
    used_at     REAL
) STRICT;
CREATE INDEX exports_by_person ON exports (person_id, asked_at);
CREATE INDEX exports_open ON exports (id) WHERE state = 'wanted';
CREATE UNIQUE INDEX exports_by_digest ON exports (digest) WHERE digest <> '';
