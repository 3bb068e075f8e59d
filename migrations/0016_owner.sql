-- Jobs that an owner moved in the queue, so that a restart keeps their places, and what was drawn lately, for charts.

CREATE TABLE queue_moves (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id      INTEGER NOT NULL UNIQUE REFERENCES jobs (id) ON DELETE CASCADE,
    -- It begins after the jobs with an id up to this; NULL: before all others.
    last_id     INTEGER
) STRICT;

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
