-- Finding one's pictures again: what is kept as a favourite, the words of each job, and what was searched for last.

-- One row for each picture that somebody keeps; it may be another's that was shown in their chat.
CREATE TABLE favourites (
    person_id   INTEGER NOT NULL REFERENCES people (id),
    job_id      INTEGER NOT NULL REFERENCES jobs (id),
    picture_id  INTEGER NOT NULL REFERENCES pictures (id) ON DELETE CASCADE,
    at          REAL    NOT NULL,
    PRIMARY KEY (person_id, job_id, picture_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX favourites_by_picture ON favourites (picture_id);
CREATE INDEX favourites_by_job ON favourites (job_id);

-- The words of each job that has pictures; the rowid is the job's id. bot/history/queries.py makes them, each begins with
-- the number of the account that asked ("12_cat"): one's own words are one short list, however much others have drawn,
-- and none has to change when accounts are joined or parted. Neither positions nor sizes: the newest comes first.
CREATE VIRTUAL TABLE found USING fts5 (words, tokenize = "porter ascii tokenchars '_'", detail = none, columnsize = 0);

-- A job whose last picture is gone is not found any more, whoever removed it.
CREATE TRIGGER found_gone AFTER DELETE ON pictures
WHEN NOT EXISTS (SELECT 1 FROM pictures WHERE job_id = OLD.job_id)
BEGIN
    DELETE FROM found WHERE rowid = OLD.job_id;
    UPDATE indexing SET stale = 1;
END;

-- One row. left: jobs up to this id are still to be indexed, newest first (those from before this migration).
-- stale: 1 where words of removed rows are still in the index's pages, 2 while they are merged away.
CREATE TABLE indexing (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    "left"      INTEGER NOT NULL,
    stale       INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO indexing (id, "left") SELECT 1, coalesce(max(id), 0) FROM jobs;

-- The first job since a day, for "before:" and "after:".
CREATE INDEX jobs_by_time ON jobs (person_id, created_at);

-- What an account searched for, so that its page buttons work after a restart; a button carries the number (1 to 999).
CREATE TABLE searches (
    account_id  INTEGER NOT NULL REFERENCES accounts (id),
    number      INTEGER NOT NULL,
    query       TEXT    NOT NULL,
    at          REAL    NOT NULL,
    PRIMARY KEY (account_id, number)
) STRICT, WITHOUT ROWID;

-- Accounts of one person that were parted: what the one had drawn counts for the other as well, for as long as any
-- quota looks back. Otherwise joining and parting would give both a fresh quota.
CREATE TABLE carried (
    person_id   INTEGER NOT NULL REFERENCES people (id),
    job_id      INTEGER NOT NULL REFERENCES jobs (id),
    PRIMARY KEY (person_id, job_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX carried_by_job ON carried (job_id);

-- Wrong codes that an account typed of late.
CREATE TABLE guesses (
    account_id  INTEGER PRIMARY KEY REFERENCES accounts (id),
    count       INTEGER NOT NULL,
    since       REAL    NOT NULL
) STRICT;

-- Short digest of how a picture's model was put together (files by name, LoRAs, scheduler), for those who draw it again.
ALTER TABLE pictures ADD COLUMN setup TEXT NOT NULL DEFAULT '';

-- The same for what they had borrowed: what was spent of it before they were parted.
CREATE TABLE carried_credits (
    person_id   INTEGER NOT NULL REFERENCES people (id),
    credit_id   INTEGER NOT NULL REFERENCES credits (id),
    until       REAL    NOT NULL,
    PRIMARY KEY (person_id, credit_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX carried_credits_by_credit ON carried_credits (credit_id);
