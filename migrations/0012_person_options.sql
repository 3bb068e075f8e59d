-- What a person has set for their own requests: usual model, size, number of pictures, style, privacy and language.
-- Names and JSON values, as in options; an option that is not set has no row.

CREATE TABLE person_options (
    person_id   INTEGER NOT NULL REFERENCES people (id),
    name        TEXT    NOT NULL,
    value       TEXT    NOT NULL,
    PRIMARY KEY (person_id, name)
) STRICT, WITHOUT ROWID;
