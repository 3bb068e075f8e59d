"""Reads many streams of the feed and counts their events: ``python -m tests.bench.feed_readers URL COUNT``."""

from __future__ import annotations

import asyncio
import json
import sys


async def read(port: int, seen: list[int], index: int) -> None:
    """Read one stream as cheaply as possible."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    try:
        while data := await reader.read(1 << 16):
            seen[index] += data.count(b"event: card")
    finally:
        writer.close()


async def main(port: int, count: int) -> None:
    """Read until the standard input ends; prints how many cards each reader has got."""
    seen = [0] * count
    reading = [asyncio.create_task(read(port, seen, index)) for index in range(count)]
    while not all(seen):  # noqa: ASYNC110 - a stream has no event for it
        await asyncio.sleep(0.05)
    print("ready", flush=True)  # noqa: T201 - the parent waits for it
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps(seen))  # noqa: T201 - the result
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1].rpartition(":")[2]), int(sys.argv[2])))
