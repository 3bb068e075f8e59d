"""axe-core in the browser: what of a page is hard or impossible to use for some people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tests.e2e.web.browser import Browser

FILE = Path(__file__).parents[2] / "fakes/axe/axe.min.js"
_RUN = """
const [rules, done] = arguments;
const options = rules.length ? {runOnly: {type: 'rule', values: rules}} : {};
axe.run(document, {...options, resultTypes: ['violations']}).then(
  ({violations}) => done(violations.map(({id, help, nodes}) => [id, help, nodes.map(({html, failureSummary}) => [html.slice(0, 300), failureSummary])])),
  (error) => done([['error', String(error), []]]),
);
"""


@cache
def _source() -> str:
    return FILE.read_text(encoding="utf-8")


def violations(browser: Browser, rules: Sequence[str] = ()) -> list[str]:
    """Return what axe-core finds wrong with the page as it is now, one line for each element.

    Args:
        browser: It shows the page.
        rules: Names of the only rules to look at; all where there are none.
    """
    if not browser.js("return 'axe' in window"):
        browser.js(_source())
    found = browser.driver.execute_async_script(_RUN, list(rules))
    return [
        json.dumps([rule, summary, element], ensure_ascii=False)
        for rule, _help, nodes in found
        for element, summary in nodes or [("", _help)]
    ]
