-- The feed of a person: what kind of request each job is, and a name for each picture's thumbnails.

-- draw, edit, start (from a picture), or the button that made it: reroll, seed, vary, upscale. The feed is filtered by it.
ALTER TABLE jobs ADD COLUMN kind TEXT GENERATED ALWAYS AS (
    CASE
        WHEN pressed <> '' THEN substr(pressed, 1, instr(pressed || ':', ':') - 1)
        WHEN "references" <> '[]' THEN 'edit'
        WHEN image <> '' THEN 'start'
        ELSE 'draw'
    END
) VIRTUAL;
CREATE INDEX jobs_by_kind ON jobs (person_id, kind, id);

-- The first 32 hexadecimal digits of the file's SHA-256: thumbnails have this name, so that they can be cached for good.
-- Pictures from before this have no less unique name, without their files being read.
ALTER TABLE pictures ADD COLUMN digest TEXT NOT NULL DEFAULT '';
UPDATE pictures SET digest = lower(hex(randomblob(16)));
CREATE INDEX pictures_by_digest ON pictures (digest);
