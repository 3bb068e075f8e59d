-- The random id that the marks in a picture's file name (XMP's DocumentID). It dies with the row.
ALTER TABLE pictures ADD COLUMN document TEXT NOT NULL DEFAULT '';
CREATE INDEX pictures_by_document ON pictures (document) WHERE document <> '';
