-- Whether the visible label is drawn into the pictures of a job (--label).
ALTER TABLE jobs ADD COLUMN label INTEGER NOT NULL DEFAULT 0;
