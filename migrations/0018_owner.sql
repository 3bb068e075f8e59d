-- Jobs that an owner moved in the queue, so that a restart keeps their places; reports of pictures, so that owners can
-- answer them; and what was drawn lately, for charts.

CREATE TABLE queue_moves (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id      INTEGER NOT NULL UNIQUE REFERENCES jobs (id) ON DELETE CASCADE,
    -- It begins after the jobs with an id up to this; NULL: before all others.
    last_id     INTEGER
) STRICT;

CREATE TABLE reports (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id      INTEGER NOT NULL REFERENCES jobs (id),
    -- The picture; -1: all pictures of the job.
    "index"     INTEGER NOT NULL,
    -- Who reported it.
    account_id  INTEGER NOT NULL REFERENCES accounts (id),
    at          REAL    NOT NULL,
    answer      TEXT    NOT NULL DEFAULT '' CHECK (answer IN ('', 'hidden', 'dismissed')),
    answered_by TEXT    NOT NULL DEFAULT '',
    UNIQUE (job_id, "index", account_id)
) STRICT;
CREATE INDEX reports_open ON reports (id) WHERE answer = '';
CREATE INDEX reports_by_account ON reports (account_id);

-- One row for each quarter of an hour; rows of more than a week ago are removed.
CREATE TABLE activity (
    -- Its start, in Unix seconds.
    at          INTEGER PRIMARY KEY,
    pictures    INTEGER NOT NULL DEFAULT 0,
    failed      INTEGER NOT NULL DEFAULT 0,
    cancelled   INTEGER NOT NULL DEFAULT 0,
    -- Predicted waits that ended: within their range, early, late.
    within      INTEGER NOT NULL DEFAULT 0,
    early       INTEGER NOT NULL DEFAULT 0,
    late        INTEGER NOT NULL DEFAULT 0,
    -- The most jobs that waited.
    waiting     INTEGER NOT NULL DEFAULT 0,
    -- Seconds that the device drew.
    busy        REAL    NOT NULL DEFAULT 0
) STRICT;
