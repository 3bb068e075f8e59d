-- Jobs whose end could be shown nowhere: whoever asked is told at their next command.
ALTER TABLE jobs ADD COLUMN missed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX jobs_missed ON jobs (person_id) WHERE missed = 1;
