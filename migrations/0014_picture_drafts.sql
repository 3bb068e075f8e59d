-- Pictures that somebody has chosen and not yet said what to do with: a form for the words is open.
CREATE TABLE picture_drafts (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id  INTEGER NOT NULL REFERENCES accounts (id),
    -- JSON: a form with the sources alone.
    form        TEXT    NOT NULL,
    created_at  REAL    NOT NULL
) STRICT;
CREATE INDEX picture_drafts_by_account ON picture_drafts (account_id);
