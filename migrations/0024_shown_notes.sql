-- Notes on cards that each person is shown once, by their catalogue keys, such as what the demo model knows.
CREATE TABLE shown_notes (
    person_id   INTEGER NOT NULL REFERENCES people (id),
    note        TEXT    NOT NULL,
    shown_at    REAL    NOT NULL,
    PRIMARY KEY (person_id, note)
) STRICT, WITHOUT ROWID;
