"""A history of very many pictures, made by SQL; indexed by the code that the service indexes with."""

from __future__ import annotations

import random
from pathlib import Path

from bot.storage.database import Database

PEOPLE = 5000
COLLECTOR = 1
"""The account (and person) that every fifth picture belongs to."""

_START = 1_700_000_000.0
_SECONDS = 60.0
"""Between two jobs."""

_HAN = "山水云雾花鸟鱼虫春夏秋冬风雨雪月日星江河湖海松竹梅兰猫狗马牛羊龙凤人家城市街道灯光夜色霓虹赛博朋克机械少女古风油画水彩素描"
_SYLLABLES = ("ka", "lo", "mi", "ter", "san", "ru", "vel", "no", "dra", "pin", "os", "ett")

_WORDS = """
CREATE TEMP TABLE words (id INTEGER PRIMARY KEY, word TEXT);
CREATE TEMP TABLE han (id INTEGER PRIMARY KEY, word TEXT);
"""
# One word in two prompts, one in twenty, and one in ten thousand; squaring makes the first of the others common.
_ENGLISH = " || ' ' || ".join(
    ["(SELECT word FROM words WHERE id = (random() & 1048575) * (random() & 1048575) % 3000 + 1 + 0 * n)"] * 10
)
_CHINESE = " || ".join(
    ["(SELECT word FROM han WHERE id = (random() & 65535) % (SELECT count(*) FROM han) + 1 + 0 * n)"] * 14
)
_JOBS = f"""
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count),
drawn AS (
    SELECT n, CASE WHEN n % 5 = 0 THEN {COLLECTOR} ELSE 2 + n % {PEOPLE - 1} END AS who,
        CASE WHEN n % 2 THEN 'portrait ' ELSE '' END || CASE WHEN n % 20 = 0 THEN 'lighthouse ' ELSE '' END
        || CASE WHEN n % 10000 = 0 THEN 'axolotl ' ELSE '' END
        || CASE WHEN n % 3 = 0 THEN {_CHINESE} ELSE {_ENGLISH} END AS typed
    FROM numbers
)
INSERT INTO jobs (id, state, event, person_id, account_id, locale, created_at, ended_at, prompt, typed, width, height,
    steps, guidance, seed, count, model)
SELECT n, 'delivered', 'bench:' || n, who, who, 'en', {_START} + n * {_SECONDS}, {_START} + n * {_SECONDS}, typed, typed,
    512, CASE WHEN n % 7 = 0 THEN 768 ELSE 512 END, 8, 1.5, n * 7919 % 4294967296, 1,
    CASE WHEN n % 4 THEN 'demo' ELSE 'sd15' END
FROM drawn
"""


async def fill(db: Database, count: int) -> None:
    """Store this number of jobs with a picture each, not indexed yet."""
    async with db.write() as tx:
        for statement in _WORDS.strip().splitlines():
            await tx.execute_fetchall(statement)
        rng = random.Random(7)
        words = ["".join(rng.choices(_SYLLABLES, k=rng.randint(2, 4))) for _ in range(3000)]
        await tx.executemany("INSERT INTO words (word) VALUES (?)", [(word,) for word in words])
        await tx.executemany("INSERT INTO han (word) VALUES (?)", [(sign,) for sign in _HAN])
        many = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
        await tx.execute_fetchall(f"{many} INSERT INTO people (id, created_at) SELECT n, 0 FROM numbers", (PEOPLE,))
        await tx.execute_fetchall(
            f"{many} INSERT INTO accounts (id, person_id, platform, user_id, created_at)"
            " SELECT n, n, 'chat', n, 0 FROM numbers",
            (PEOPLE,),
        )
        await tx.execute_fetchall(_JOBS, {"count": count})
        await tx.execute_fetchall(
            'INSERT INTO pictures (job_id, "index", seed, path, width, height, bytes, seconds, created_at)'
            " SELECT id, 0, seed, id || '-0.png', width, height, 1, 0.5, created_at FROM jobs"
        )
        await tx.execute_fetchall(
            "INSERT INTO favourites (person_id, job_id, picture_id, at)"
            " SELECT j.person_id, j.id, p.id, j.created_at FROM jobs j JOIN pictures p ON p.job_id = j.id"
            " WHERE j.id % 50 = 0"
        )
        await tx.execute_fetchall('UPDATE indexing SET "left" = ?', (count,))
        await tx.execute_fetchall("DROP TABLE temp.words")
        await tx.execute_fetchall("DROP TABLE temp.han")


def megabytes(path: Path) -> float:
    """Size of the database's file."""
    return path.stat().st_size / 1e6
