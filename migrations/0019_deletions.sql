-- Deletions that can be undone: their jobs are hidden at once, and are deleted when the time to undo is over.
CREATE TABLE deletions (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The account and the key that its client chose: the same request twice is one deletion.
    event       TEXT    NOT NULL UNIQUE,
    -- Who has it may undo the deletion.
    token       TEXT    NOT NULL UNIQUE,
    due_at      REAL    NOT NULL
) STRICT;
CREATE INDEX deletions_due ON deletions (due_at);

ALTER TABLE jobs ADD COLUMN deletion_id INTEGER REFERENCES deletions (id);
CREATE INDEX jobs_by_deletion ON jobs (deletion_id) WHERE deletion_id IS NOT NULL;
