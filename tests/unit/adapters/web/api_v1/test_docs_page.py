"""The page of the API has no scripts and names every operation and object."""

from __future__ import annotations

import re
from html import unescape

from tests.unit.adapters.web.harness import WebHarness


async def test_the_page_shows_the_whole_document_without_scripts(app: WebHarness) -> None:
    _, document = await app.get("/api/v1/openapi.json")
    async with app.client.get("/api/v1/docs") as response:
        assert response.content_type == "text/html"
        policy = response.headers["Content-Security-Policy"]
        page = await response.text()
    assert "default-src 'none'" in policy
    assert not re.search(r"<script|\son\w+=|style=|javascript:|https?://(?!www\.)", page)
    async with app.client.get("/static/api.css") as style:
        assert style.status == 200
    text = unescape(page)
    for path, entries in document["paths"].items():
        for method, entry in entries.items():
            assert f"<code>{method.upper()} {path}</code>" in text
            assert entry["operationId"].isidentifier()
    for name in document["components"]["schemas"]:
        assert f'<details id="{name}">' in page
    # Every link inside the page leads to an object.
    for target in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{target}"' in page
