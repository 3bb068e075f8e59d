-- Reference pictures of an edit, LoRAs of a request, and what else decides its pixels.
-- references: a JSON list of files relative to the data folder. loras: a JSON list of [name, weight].
ALTER TABLE jobs ADD COLUMN "references"   TEXT    NOT NULL DEFAULT '[]';
ALTER TABLE jobs ADD COLUMN loras          TEXT    NOT NULL DEFAULT '[]';
ALTER TABLE jobs ADD COLUMN sampler        TEXT    NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN clip_skip      INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN control        TEXT    NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN control_weight REAL    NOT NULL DEFAULT 1;
