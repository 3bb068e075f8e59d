-- A digest of what was asked for, where the asker names the event: the same name for another request is refused.
ALTER TABLE jobs ADD COLUMN digest TEXT NOT NULL DEFAULT '';
