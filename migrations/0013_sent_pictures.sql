-- What a platform calls a picture that it has been sent: Telegram shows it again by that id without another upload. It is
-- no more than a saving, and ends with the picture.

CREATE TABLE sent_pictures (
    picture_id INTEGER NOT NULL REFERENCES pictures (id) ON DELETE CASCADE,
    platform   TEXT    NOT NULL,
    remote     TEXT    NOT NULL,
    PRIMARY KEY (picture_id, platform)
) WITHOUT ROWID;
