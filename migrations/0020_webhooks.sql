-- Webhooks of jobs that programs have asked for, until they are delivered or given up. A kill loses none.
-- The event names the job: the webhook is stored before it, and the job in the transaction that admits it.
CREATE TABLE webhooks (
    event      TEXT    NOT NULL PRIMARY KEY,
    url        TEXT    NOT NULL,
    -- Needed for each signature. The row is deleted after the last one.
    secret     TEXT    NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    next_at    REAL    NOT NULL,
    created_at REAL    NOT NULL
) STRICT;
CREATE INDEX webhooks_next ON webhooks (next_at);

-- Of a job that is deleted or whose person is forgotten, nothing is told any more.
CREATE TRIGGER webhooks_forgotten AFTER UPDATE OF forgotten ON jobs WHEN NEW.forgotten
BEGIN
    DELETE FROM webhooks WHERE event = OLD.event;
END;
