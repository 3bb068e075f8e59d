-- Requests whose pictures are still on their platform: saved first, then the pictures are fetched, then the job is made.
CREATE TABLE picture_requests (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The event of the job that comes of it, so that one event stays one job.
    event       TEXT    NOT NULL UNIQUE,
    account_id  INTEGER NOT NULL REFERENCES accounts (id),
    platform    TEXT    NOT NULL,
    -- JSON: who asked and where, where the card is, and the form with its sources.
    actor       TEXT    NOT NULL,
    place       TEXT    NOT NULL,
    address     TEXT    NOT NULL,
    form        TEXT    NOT NULL,
    -- Until then further pictures of an album are expected.
    due_at      REAL    NOT NULL,
    -- How often a process has begun to fetch them; a picture that ends the process is not fetched for ever.
    tries       INTEGER NOT NULL DEFAULT 0,
    created_at  REAL    NOT NULL
) STRICT;
CREATE INDEX picture_requests_by_account ON picture_requests (account_id);

-- Notices in a chat whose card was replaced and that are still to be edited.
CREATE INDEX messages_outdated ON messages (id) WHERE kind = 'notice' AND state = 'shown' AND card <> '';
