-- Drawings that start from a picture, vary one around its seed, or enlarge one; and how each picture was really drawn.
-- image and mask are files relative to the data folder: inputs/<sha256>.png, or a stored picture that is enlarged.

ALTER TABLE jobs ADD COLUMN image          TEXT    NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN mask           TEXT    NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN strength       REAL    NOT NULL DEFAULT 1;
ALTER TABLE jobs ADD COLUMN variation      REAL    NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN variation_seed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN upscale        REAL    NOT NULL DEFAULT 0;
-- Which files are still needed is asked at each start.
CREATE INDEX jobs_started ON jobs (image, mask) WHERE image <> '';

-- The engine's codes of what the person should know of a picture (its prompt was cut, say), as a JSON list.
ALTER TABLE pictures ADD COLUMN precision  TEXT    NOT NULL DEFAULT '';
ALTER TABLE pictures ADD COLUMN revision   TEXT    NOT NULL DEFAULT '';
ALTER TABLE pictures ADD COLUMN notes      TEXT    NOT NULL DEFAULT '[]';
