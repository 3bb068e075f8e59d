BEGIN TRANSACTION;
CREATE TABLE access (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    platform    TEXT    NOT NULL,
    kind        TEXT    NOT NULL CHECK (kind IN ('place', 'person')),
    subject     TEXT    NOT NULL,
    name        TEXT    NOT NULL DEFAULT '',
    state       TEXT    NOT NULL CHECK (state IN ('asked', 'allowed', 'refused')),
    asked_at    REAL    NOT NULL,
    told_at     REAL,
    decided_by  TEXT    NOT NULL DEFAULT '',
    decided_at  REAL,
    UNIQUE (platform, kind, subject)
) STRICT;
CREATE TABLE accounts (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    person_id   INTEGER NOT NULL REFERENCES people (id),
    platform    TEXT    NOT NULL,
    user_id     TEXT    NOT NULL,
    name        TEXT    NOT NULL DEFAULT '',
    created_at  REAL    NOT NULL, handle TEXT NOT NULL DEFAULT '',
    UNIQUE (platform, user_id)
) STRICT;
INSERT INTO "accounts" VALUES(1,1,'chat','1','user 1',1800000000.0,'');
INSERT INTO "accounts" VALUES(2,2,'chat','2','user 2',1800000007.5,'');
INSERT INTO "accounts" VALUES(3,3,'chat','3','user 3',1800000012.25,'');
CREATE TABLE audit (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at          REAL    NOT NULL,
    actor       TEXT    NOT NULL,
    platform    TEXT,
    place       TEXT,
    action      TEXT    NOT NULL,
    before      TEXT    NOT NULL DEFAULT '',
    after       TEXT    NOT NULL DEFAULT ''
, kind      TEXT NOT NULL DEFAULT '', subject   TEXT NOT NULL DEFAULT '', undoes    INTEGER REFERENCES audit (id)) STRICT;
INSERT INTO "audit" VALUES(1,1800000012.25,'chat:9',NULL,NULL,'quota set','null','{"terms": {"limits": [{"amount": 12, "unit": "pictures", "window": "day"}]}}','policy','{"by_owner": true, "channel": null, "person": null, "place": null, "platform": "chat", "role": null}',NULL);
INSERT INTO "audit" VALUES(2,1800000012.25,'chat:9',NULL,NULL,'quota grant','null','{"by_owner": true, "expires_at": 1802592012.25, "kind": "bonus", "person_id": 2, "pictures": 3, "place_id": null}','credit','{"event": "old:grant"}',NULL);
INSERT INTO "audit" VALUES(3,1800000013.75,'chat:9',NULL,NULL,'easel ban','null','{"reason": "spam", "until": null}','ban','{"place_id": 0, "platform": "chat", "user_id": "3"}',NULL);
CREATE TABLE bans (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    platform    TEXT    NOT NULL,
    user_id     TEXT    NOT NULL,
    place_id    INTEGER NOT NULL DEFAULT 0,
    until       REAL,
    reason      TEXT    NOT NULL DEFAULT '',
    set_by      TEXT    NOT NULL,
    set_at      REAL    NOT NULL,
    UNIQUE (platform, user_id, place_id)
) STRICT;
INSERT INTO "bans" VALUES(1,'chat','3',0,NULL,'spam','chat:9',1800000013.75);
CREATE TABLE carried (
    person_id   INTEGER NOT NULL REFERENCES people (id),
    job_id      INTEGER NOT NULL REFERENCES jobs (id),
    PRIMARY KEY (person_id, job_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE carried_credits (
    person_id   INTEGER NOT NULL REFERENCES people (id),
    credit_id   INTEGER NOT NULL REFERENCES credits (id),
    until       REAL    NOT NULL,
    PRIMARY KEY (person_id, credit_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE codes (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    kind        TEXT    NOT NULL CHECK (kind IN ('claim', 'link')),
    digest      TEXT    NOT NULL,
    account_id  INTEGER REFERENCES accounts (id),
    expires_at  REAL    NOT NULL,
    tries_left  INTEGER NOT NULL,
    used_at     REAL
) STRICT;
CREATE TABLE credit_uses (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    credit_id   INTEGER NOT NULL REFERENCES credits (id),
    job_id      INTEGER NOT NULL REFERENCES jobs (id),
    kind        TEXT    NOT NULL CHECK (kind IN ('spend', 'return')),
    pictures    INTEGER NOT NULL,
    written_at  REAL    NOT NULL,
    UNIQUE (credit_id, job_id, kind)
) STRICT;
CREATE TABLE credits (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    person_id   INTEGER NOT NULL REFERENCES people (id),
    place_id    INTEGER REFERENCES places (id),
    kind        TEXT    NOT NULL CHECK (kind IN ('bonus', 'borrowed')),
    pictures    INTEGER NOT NULL CHECK (pictures > 0),
    by_owner    INTEGER NOT NULL,
    given_by    TEXT    NOT NULL,
    given_at    REAL    NOT NULL,
    expires_at  REAL    NOT NULL,
    revoked_at  REAL,
    -- The platform's own name of what gave them; one event gives once however often it comes.
    event       TEXT    NOT NULL UNIQUE
) STRICT;
INSERT INTO "credits" VALUES(1,2,NULL,'bonus',3,1,'chat:9',1800000012.25,1802592012.25,NULL,'old:grant');
CREATE TABLE exports (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    person_id   INTEGER NOT NULL REFERENCES people (id),
    state       TEXT    NOT NULL CHECK (state IN ('wanted', 'ready')),
    address     TEXT    NOT NULL DEFAULT '',
    digest      TEXT    NOT NULL DEFAULT '',
    locale      TEXT    NOT NULL,
    asked_at    REAL    NOT NULL,
    used_at     REAL
) STRICT;
CREATE TABLE favourites (
    person_id   INTEGER NOT NULL REFERENCES people (id),
    job_id      INTEGER NOT NULL REFERENCES jobs (id),
    picture_id  INTEGER NOT NULL REFERENCES pictures (id) ON DELETE CASCADE,
    at          REAL    NOT NULL,
    PRIMARY KEY (person_id, job_id, picture_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "favourites" VALUES(1,2,3,1800000009.5);
CREATE VIRTUAL TABLE found USING fts5 (words, tokenize = "porter ascii tokenchars '_'", detail = none, columnsize = 0);
INSERT INTO found (rowid, words) VALUES(1,'1__ 1_a 1_red 1_apple 1_demo 1__model_demo_ 1__size_64x64_ 1__seed_7_');
INSERT INTO found (rowid, words) VALUES(2,'1__ 1_a 1_blue 1_boat 1_at 1_night 1_demo 1__model_demo_ 1__size_64x64_ 1__seed_21_ 1__seed_22_ 1__favourite_');
INSERT INTO found (rowid, words) VALUES(3,'2__ 2_黄 2_色 2_背 2_景 2_上 2_的 2_火 2_箭 2_黄色 2_色背 2_背景 2_景上 2_上的 2_的火 2_火箭 2_demo 2__model_demo_ 2__size_64x64_ 2__seed_5_');
INSERT INTO found (rowid, words) VALUES(4,'1__ 1_a 1_red 1_apple 1_demo 1__model_demo_ 1__size_64x64_ 1__seed_7_');
INSERT INTO found (rowid, words) VALUES(5,'3__ 3_a 3_spam 3_can 3_demo 3__model_demo_ 3__size_64x64_ 3__seed_3_');
CREATE TABLE guesses (
    account_id  INTEGER PRIMARY KEY REFERENCES accounts (id),
    count       INTEGER NOT NULL,
    since       REAL    NOT NULL
) STRICT;
CREATE TABLE indexing (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    "left"      INTEGER NOT NULL,
    stale       INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO "indexing" VALUES(1,0,0);
CREATE TABLE jobs (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    state       TEXT    NOT NULL CHECK (state IN ('held', 'queued', 'running', 'painted', 'delivered', 'cancelled', 'failed')),
    -- The platform's own name of the event; one event is one job however often it comes.
    event       TEXT    NOT NULL UNIQUE,
    person_id   INTEGER NOT NULL REFERENCES people (id),
    account_id  INTEGER NOT NULL REFERENCES accounts (id),
    place_id    INTEGER REFERENCES places (id),
    parent_id   INTEGER REFERENCES jobs (id),
    locale      TEXT    NOT NULL,
    asker       TEXT    NOT NULL DEFAULT '',
    -- The checked request.
    prompt      TEXT    NOT NULL,
    typed       TEXT    NOT NULL,
    negative    TEXT    NOT NULL DEFAULT '',
    width       INTEGER NOT NULL,
    height      INTEGER NOT NULL,
    steps       INTEGER NOT NULL,
    guidance    REAL    NOT NULL,
    seed        INTEGER NOT NULL,
    count       INTEGER NOT NULL CHECK (count BETWEEN 1 AND 16),
    model       TEXT    NOT NULL,
    style       TEXT    NOT NULL DEFAULT '',
    private     INTEGER NOT NULL DEFAULT 0,
    notes       TEXT    NOT NULL DEFAULT '[]',
    -- How it went.
    attempts    INTEGER NOT NULL DEFAULT 0,
    error       TEXT    NOT NULL DEFAULT '',
    seconds     REAL    NOT NULL DEFAULT 0,
    created_at  REAL    NOT NULL,
    started_at  REAL,
    ended_at    REAL
, image          TEXT    NOT NULL DEFAULT '', mask           TEXT    NOT NULL DEFAULT '', strength       REAL    NOT NULL DEFAULT 1, variation      REAL    NOT NULL DEFAULT 0, variation_seed INTEGER NOT NULL DEFAULT 0, upscale        REAL    NOT NULL DEFAULT 0, channel   TEXT    NOT NULL DEFAULT '', strictness TEXT NOT NULL DEFAULT 'off', forgotten INTEGER NOT NULL DEFAULT 0, roles TEXT NOT NULL DEFAULT '[]') STRICT;
INSERT INTO "jobs" VALUES(1,'delivered','chat:1',1,1,NULL,NULL,'en','user 1','a red apple','a red apple','',64,64,2,0.0,7,1,'demo','',0,'[]',0,'',0.01,1800000000.0,1800000000.0,1800000001.25,'','',1.0,0.0,0,0.0,'','off',0,'[]');
INSERT INTO "jobs" VALUES(2,'delivered','chat:2',1,1,NULL,NULL,'en','user 1','a blue boat at night','a blue boat at night','',64,64,2,0.0,21,2,'demo','',0,'[]',0,'',0.02,1800000003.25,1800000003.25,1800000004.0,'','',1.0,0.0,0,0.0,'','off',0,'[]');
INSERT INTO "jobs" VALUES(3,'delivered','chat:3',2,2,NULL,NULL,'en','user 2','黄色背景上的火箭','黄色背景上的火箭','',64,64,2,0.0,5,1,'demo','',0,'[]',0,'',0.01,1800000007.5,1800000007.5,1800000008.25,'','',1.0,0.0,0,0.0,'','off',0,'[]');
INSERT INTO "jobs" VALUES(4,'delivered','old:vary',1,1,NULL,1,'en','user 1','a red apple','a red apple','',64,64,2,0.0,7,2,'demo','',0,'[]',0,'',0.02,1800000009.5,1800000009.5,1800000010.0,'','',1.0,0.25,2190770607,0.0,'','off',0,'[]');
INSERT INTO "jobs" VALUES(5,'delivered','chat:4',3,3,NULL,NULL,'en','user 3','a spam can','a spam can','',64,64,2,0.0,3,1,'demo','',0,'[]',0,'',0.01,1800000012.25,1800000012.25,1800000012.75,'','',1.0,0.0,0,0.0,'','off',0,'[]');
INSERT INTO "jobs" VALUES(6,'cancelled','chat:5',1,1,NULL,NULL,'en','user 1','a cancelled cat','a cancelled cat','',64,64,2,0.0,9,1,'demo','',0,'[]',0,'',0.0,1800000013.75,NULL,1800000013.75,'','',1.0,0.0,0,0.0,'','off',0,'[]');
INSERT INTO "jobs" VALUES(7,'queued','chat:6',2,2,NULL,NULL,'en','user 2','a green frog','a green frog','',64,64,2,0.0,11,1,'demo','',0,'[]',0,'',0.0,1800000013.75,NULL,NULL,'','',1.0,0.0,0,0.0,'','off',0,'[]');
CREATE TABLE ledger (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id      INTEGER NOT NULL REFERENCES jobs (id),
    person_id   INTEGER NOT NULL REFERENCES people (id),
    place_id    INTEGER REFERENCES places (id),
    kind        TEXT    NOT NULL CHECK (kind IN ('reserve', 'charge', 'refund')),
    reserved    INTEGER NOT NULL,
    charged     INTEGER NOT NULL,
    counted_at  REAL    NOT NULL,
    written_at  REAL    NOT NULL, cost_each INTEGER NOT NULL DEFAULT 1000, free      INTEGER NOT NULL DEFAULT 0, free_here INTEGER NOT NULL DEFAULT 0, channel   TEXT    NOT NULL DEFAULT '',
    UNIQUE (job_id, kind)
) STRICT;
INSERT INTO "ledger" VALUES(1,1,1,NULL,'reserve',1,0,1800000000.0,1800000000.0,28,0,0,'');
INSERT INTO "ledger" VALUES(2,1,1,NULL,'charge',-1,1,1800000000.0,1800000001.25,28,0,0,'');
INSERT INTO "ledger" VALUES(3,2,1,NULL,'reserve',2,0,1800000003.25,1800000003.25,28,0,0,'');
INSERT INTO "ledger" VALUES(4,2,1,NULL,'charge',-2,2,1800000003.25,1800000004.0,28,0,0,'');
INSERT INTO "ledger" VALUES(5,3,2,NULL,'reserve',1,0,1800000007.5,1800000007.5,28,0,0,'');
INSERT INTO "ledger" VALUES(6,3,2,NULL,'charge',-1,1,1800000007.5,1800000008.25,28,0,0,'');
INSERT INTO "ledger" VALUES(7,4,1,NULL,'reserve',2,0,1800000009.5,1800000009.5,28,0,0,'');
INSERT INTO "ledger" VALUES(8,4,1,NULL,'charge',-2,2,1800000009.5,1800000010.0,28,0,0,'');
INSERT INTO "ledger" VALUES(9,5,3,NULL,'reserve',1,0,1800000012.25,1800000012.25,28,0,0,'');
INSERT INTO "ledger" VALUES(10,5,3,NULL,'charge',-1,1,1800000012.25,1800000012.75,28,0,0,'');
INSERT INTO "ledger" VALUES(11,6,1,NULL,'reserve',1,0,1800000013.75,1800000013.75,28,0,0,'');
INSERT INTO "ledger" VALUES(12,6,1,NULL,'refund',-1,0,1800000013.75,1800000013.75,28,0,0,'');
INSERT INTO "ledger" VALUES(13,7,2,NULL,'reserve',1,0,1800000013.75,1800000013.75,28,0,0,'');
CREATE TABLE messages (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    kind        TEXT    NOT NULL CHECK (kind IN ('card', 'notice', 'album', 'document')),
    state       TEXT    NOT NULL CHECK (state IN ('opening', 'wanted', 'sending', 'shown', 'unclear', 'gone')),
    -- Unique name of what caused it; the same event twice is one message.
    event       TEXT    NOT NULL UNIQUE,
    job_id      INTEGER REFERENCES jobs (id),
    platform    TEXT    NOT NULL,
    chat        TEXT    NOT NULL,
    message     TEXT,
    address     TEXT    NOT NULL,
    card        TEXT    NOT NULL DEFAULT '',
    shown       TEXT    NOT NULL DEFAULT '',
    created_at  REAL    NOT NULL,
    updated_at  REAL    NOT NULL
, unwanted INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO "messages" VALUES(1,'card','shown','chat:1',1,'chat','100','1','{"platform":"chat","chat":"100","message":"1","user":"1"}','','final:00d7ec3968ece7d2ff0f80d30658b83bd139d9842fb5f454075581e8aaa4d649',1.79595078733100748063e+09,1.79595078742201471333e+09,0);
INSERT INTO "messages" VALUES(2,'card','shown','chat:2',2,'chat','100','2','{"platform":"chat","chat":"100","message":"2","user":"1"}','','final:e3f41f8ef54d664f5d4bad3931650efa95346ccbbbbefb76a6e59b38e516dcfc',1.79595078743098688126e+09,1.79595078745898914336e+09,0);
INSERT INTO "messages" VALUES(3,'album','shown','album:2',2,'chat','100','2','{"platform":"chat","chat":"100","message":"2","user":"1"}','1','final:3',1.79595078745898914336e+09,1795950787.47299,0);
INSERT INTO "messages" VALUES(5,'card','shown','chat:3',3,'chat','100','4','{"platform":"chat","chat":"100","message":"4","user":"2"}','','final:f1268e604230c09e520edfb437edcb81619f6de1d6fda29f13be173c9a8919f9',1.79595078747999072074e+09,1.79595078749998664853e+09,0);
INSERT INTO "messages" VALUES(6,'card','shown','old:vary',4,'chat','100','5','{"platform":"chat","chat":"100","reply_to":"1","message":"5","user":"1"}','','final:ed0bd40e30cf63f4892c82ba866d565da756c41652ff7ac21ff4ed45f2cf9dce',1.79595078750899887079e+09,1.79595078752199411396e+09,0);
INSERT INTO "messages" VALUES(7,'album','shown','album:6',4,'chat','100','5','{"platform":"chat","chat":"100","reply_to":"1","message":"5","user":"1"}','1','final:6',1.79595078752199411396e+09,1.79595078753100633622e+09,0);
INSERT INTO "messages" VALUES(9,'card','shown','chat:4',5,'chat','100','7','{"platform":"chat","chat":"100","message":"7","user":"3"}','','final:8036fdf800f3ad3646f7afdb6eae4ea48b488558b9db29aa43b8a26c72da0324',1.79595078754601335528e+09,1.79595078757498121261e+09,0);
INSERT INTO "messages" VALUES(10,'card','shown','chat:5',6,'chat','100','8','{"platform":"chat","chat":"100","message":"8","user":"1"}','','final:94105dfe8cee342d11d061160cc78303653ef943962d74e47fc24c9b11595969',1.79595078757900452615e+09,1.79595078759099388123e+09,0);
INSERT INTO "messages" VALUES(11,'card','shown','chat:6',7,'chat','100','9','{"platform":"chat","chat":"100","message":"9","user":"2"}','','b6a25ecfdcdb37144a66b39b54aa49ea8f3d187607dd829bfff476fe5010f390',1.79595078758298754692e+09,1.79595078760700678824e+09,0);
INSERT INTO "messages" VALUES(12,'notice','wanted','old:notice',NULL,'chat','100',NULL,'{"platform":"chat","chat":"100","user":"1"}','{"tone":"done","status":"A notice of the day before.","final":true}','',1.79595078763002014162e+09,1.79595078763002014162e+09,0);
CREATE TABLE options (
    place_id    INTEGER NOT NULL,
    name        TEXT    NOT NULL,
    value       TEXT    NOT NULL,
    PRIMARY KEY (place_id, name)
) STRICT;
CREATE TABLE owners (
    platform    TEXT    NOT NULL,
    user_id     TEXT    NOT NULL,
    name        TEXT    NOT NULL DEFAULT '',
    locale      TEXT    NOT NULL DEFAULT '',
    since       REAL    NOT NULL,
    PRIMARY KEY (platform, user_id)
) STRICT;
CREATE TABLE people (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL DEFAULT '',
    created_at  REAL    NOT NULL
) STRICT;
INSERT INTO "people" VALUES(1,'user 1',1800000000.0);
INSERT INTO "people" VALUES(2,'user 2',1800000007.5);
INSERT INTO "people" VALUES(3,'user 3',1800000012.25);
CREATE TABLE pictures (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id      INTEGER NOT NULL REFERENCES jobs (id),
    "index"     INTEGER NOT NULL,
    seed        INTEGER NOT NULL,
    path        TEXT    NOT NULL UNIQUE,
    width       INTEGER NOT NULL,
    height      INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    seconds     REAL    NOT NULL,
    created_at  REAL    NOT NULL, precision  TEXT    NOT NULL DEFAULT '', revision   TEXT    NOT NULL DEFAULT '', notes      TEXT    NOT NULL DEFAULT '[]', flag   TEXT NOT NULL DEFAULT '', device TEXT NOT NULL DEFAULT '', setup TEXT NOT NULL DEFAULT '',
    UNIQUE (job_id, "index")
) STRICT;
INSERT INTO "pictures" VALUES(1,1,0,7,'2027/01/15/1-0.png',64,64,341,0.01,1800000001.25,'fp32','','[]','','fake','');
INSERT INTO "pictures" VALUES(2,2,0,21,'2027/01/15/2-0.png',64,64,351,0.01,1800000004.0,'fp32','','[]','','fake','');
INSERT INTO "pictures" VALUES(3,2,1,22,'2027/01/15/2-1.png',64,64,351,0.01,1800000004.0,'fp32','','[]','','fake','');
INSERT INTO "pictures" VALUES(4,3,0,5,'2027/01/15/3-0.png',64,64,359,0.01,1800000008.25,'fp32','','[]','','fake','');
INSERT INTO "pictures" VALUES(5,4,0,7,'2027/01/15/4-0.png',64,64,400,0.01,1800000010.0,'fp32','','[]','','fake','');
INSERT INTO "pictures" VALUES(6,4,1,7,'2027/01/15/4-1.png',64,64,400,0.01,1800000010.0,'fp32','','[]','','fake','');
INSERT INTO "pictures" VALUES(7,5,0,3,'2027/01/15/5-0.png',64,64,340,0.01,1800000012.75,'fp32','','[]','','fake','');
CREATE TABLE places (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    platform    TEXT    NOT NULL,
    guild       TEXT    NOT NULL,
    name        TEXT    NOT NULL DEFAULT '',
    created_at  REAL    NOT NULL,
    UNIQUE (platform, guild)
) STRICT;
CREATE TABLE "policies" (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    platform    TEXT,
    place       TEXT,
    channel     TEXT,
    role        TEXT,
    person      TEXT,
    terms       TEXT    NOT NULL,
    by_owner    INTEGER NOT NULL,
    set_by      TEXT    NOT NULL,
    set_at      REAL    NOT NULL
) STRICT;
INSERT INTO "policies" VALUES(1,'chat',NULL,NULL,NULL,NULL,'{"limits": [{"amount": 12, "window": "day", "unit": "pictures"}]}',1,'chat:9',1800000012.25);
CREATE TABLE searches (
    account_id  INTEGER NOT NULL REFERENCES accounts (id),
    number      INTEGER NOT NULL,
    query       TEXT    NOT NULL,
    at          REAL    NOT NULL,
    PRIMARY KEY (account_id, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE strikes (
    account_id  INTEGER PRIMARY KEY REFERENCES accounts (id),
    count       INTEGER NOT NULL,
    last_at     REAL    NOT NULL
) STRICT;
CREATE TABLE tallies (
    person_id   INTEGER NOT NULL,
    slot        INTEGER NOT NULL,
    place_id    INTEGER NOT NULL,
    channel     TEXT    NOT NULL,
    owner       INTEGER NOT NULL,
    own         INTEGER NOT NULL,
    owner_cost  INTEGER NOT NULL,
    own_cost    INTEGER NOT NULL,
    PRIMARY KEY (person_id, slot, place_id, channel)
) STRICT, WITHOUT ROWID;
INSERT INTO "tallies" VALUES(1,2000000,0,'',5,5,140,140);
INSERT INTO "tallies" VALUES(2,2000000,0,'',2,2,56,56);
INSERT INTO "tallies" VALUES(3,2000000,0,'',1,1,28,28);
CREATE INDEX accounts_by_person ON accounts (person_id);
CREATE INDEX jobs_open ON jobs (state, id) WHERE state IN ('held', 'queued', 'running', 'painted');
CREATE INDEX jobs_by_person ON jobs (person_id, id);
CREATE INDEX messages_by_job ON messages (job_id);
CREATE INDEX messages_open ON messages (state, id) WHERE state IN ('opening', 'wanted', 'sending');
CREATE INDEX ledger_by_person ON ledger (person_id, counted_at);
CREATE INDEX jobs_started ON jobs (image, mask) WHERE image <> '';
CREATE UNIQUE INDEX policies_once ON policies
    (by_owner, coalesce(platform, ''), coalesce(place, ''), coalesce(channel, ''), coalesce(role, ''), coalesce(person, ''));
CREATE TRIGGER ledger_counts AFTER INSERT ON ledger WHEN NEW.kind <> 'charge'
BEGIN
    INSERT INTO tallies VALUES (NEW.person_id, CAST(NEW.counted_at / 900 AS INTEGER), coalesce(NEW.place_id, 0), NEW.channel,
        NEW.reserved - NEW.free, NEW.reserved - NEW.free - NEW.free_here, (NEW.reserved - NEW.free) * NEW.cost_each,
        (NEW.reserved - NEW.free - NEW.free_here) * NEW.cost_each)
        ON CONFLICT DO UPDATE SET owner = owner + excluded.owner, own = own + excluded.own,
            owner_cost = owner_cost + excluded.owner_cost, own_cost = own_cost + excluded.own_cost;
    DELETE FROM tallies WHERE person_id = NEW.person_id AND slot < CAST(NEW.counted_at / 900 AS INTEGER) - 9 * 96;
END;
CREATE TRIGGER ledger_changes_hands AFTER UPDATE OF person_id ON ledger
WHEN NEW.kind <> 'charge' AND NEW.person_id <> OLD.person_id
BEGIN
    INSERT INTO tallies VALUES (OLD.person_id, CAST(OLD.counted_at / 900 AS INTEGER), coalesce(OLD.place_id, 0), OLD.channel,
        OLD.free - OLD.reserved, OLD.free + OLD.free_here - OLD.reserved, (OLD.free - OLD.reserved) * OLD.cost_each,
        (OLD.free + OLD.free_here - OLD.reserved) * OLD.cost_each)
        ON CONFLICT DO UPDATE SET owner = owner + excluded.owner, own = own + excluded.own,
            owner_cost = owner_cost + excluded.owner_cost, own_cost = own_cost + excluded.own_cost;
    INSERT INTO tallies VALUES (NEW.person_id, CAST(NEW.counted_at / 900 AS INTEGER), coalesce(NEW.place_id, 0), NEW.channel,
        NEW.reserved - NEW.free, NEW.reserved - NEW.free - NEW.free_here, (NEW.reserved - NEW.free) * NEW.cost_each,
        (NEW.reserved - NEW.free - NEW.free_here) * NEW.cost_each)
        ON CONFLICT DO UPDATE SET owner = owner + excluded.owner, own = own + excluded.own,
            owner_cost = owner_cost + excluded.owner_cost, own_cost = own_cost + excluded.own_cost;
END;
CREATE INDEX credits_by_person ON credits (person_id, expires_at);
CREATE INDEX credit_uses_by_job ON credit_uses (job_id);
CREATE INDEX jobs_waiting ON jobs (person_id, place_id) WHERE state IN ('held', 'queued', 'running');
CREATE INDEX accounts_by_handle ON accounts (platform, handle) WHERE handle <> '';
CREATE INDEX codes_by_kind ON codes (kind, expires_at);
CREATE INDEX access_open ON access (id) WHERE state = 'asked';
CREATE INDEX bans_by_place ON bans (place_id, set_at);
CREATE INDEX audit_by_place ON audit (platform, place, id);
CREATE INDEX audit_undone ON audit (undoes) WHERE undoes IS NOT NULL;
CREATE INDEX messages_unwanted_open ON messages (job_id) WHERE unwanted = 1;
CREATE INDEX pictures_by_age ON pictures (created_at, id);
CREATE INDEX exports_by_person ON exports (person_id, asked_at);
CREATE INDEX exports_open ON exports (id) WHERE state = 'wanted';
CREATE UNIQUE INDEX exports_by_digest ON exports (digest) WHERE digest <> '';
CREATE INDEX favourites_by_picture ON favourites (picture_id);
CREATE INDEX favourites_by_job ON favourites (job_id);
CREATE TRIGGER found_gone AFTER DELETE ON pictures
WHEN NOT EXISTS (SELECT 1 FROM pictures WHERE job_id = OLD.job_id)
BEGIN
    DELETE FROM found WHERE rowid = OLD.job_id;
    UPDATE indexing SET stale = 1;
END;
CREATE INDEX jobs_by_time ON jobs (person_id, created_at);
CREATE INDEX carried_by_job ON carried (job_id);
CREATE INDEX carried_credits_by_credit ON carried_credits (credit_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('policies',1);
INSERT INTO "sqlite_sequence" VALUES('access',0);
INSERT INTO "sqlite_sequence" VALUES('people',3);
INSERT INTO "sqlite_sequence" VALUES('accounts',3);
INSERT INTO "sqlite_sequence" VALUES('jobs',7);
INSERT INTO "sqlite_sequence" VALUES('ledger',13);
INSERT INTO "sqlite_sequence" VALUES('messages',12);
INSERT INTO "sqlite_sequence" VALUES('pictures',7);
INSERT INTO "sqlite_sequence" VALUES('audit',3);
INSERT INTO "sqlite_sequence" VALUES('credits',1);
INSERT INTO "sqlite_sequence" VALUES('bans',1);
PRAGMA user_version=5;
COMMIT;
