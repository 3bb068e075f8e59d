-- Prompts that the engine writes: saved first, then written, then shown with buttons that draw or change them.
CREATE TABLE prompt_drafts (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    event      TEXT    NOT NULL UNIQUE,
    account_id INTEGER NOT NULL REFERENCES accounts (id),
    -- JSON: who asked and where, where the card is, and the request without flags in its prompt.
    actor      TEXT    NOT NULL,
    place      TEXT    NOT NULL,
    address    TEXT    NOT NULL,
    form       TEXT    NOT NULL,
    -- The job whose prompt is made richer.
    job_id     INTEGER          REFERENCES jobs (id),
    model      TEXT    NOT NULL,
    seed       INTEGER NOT NULL,
    -- waiting, written or ended. Ended ones are kept for a day, since they count for the limit of each person.
    state      TEXT    NOT NULL,
    text       TEXT    NOT NULL DEFAULT '',
    -- How often a process or an engine has begun to write it.
    tries      INTEGER NOT NULL DEFAULT 0,
    drawn_at   REAL    NOT NULL DEFAULT 0,
    created_at REAL    NOT NULL
) STRICT;
CREATE INDEX prompt_drafts_by_account ON prompt_drafts (account_id, created_at);
CREATE INDEX prompt_drafts_waiting ON prompt_drafts (id) WHERE state = 'waiting';
CREATE INDEX prompt_drafts_by_job ON prompt_drafts (job_id) WHERE job_id IS NOT NULL;
