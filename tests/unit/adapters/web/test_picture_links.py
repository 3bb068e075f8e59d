"""Signed addresses of pictures expire, and no part of them can be changed."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from adapters.web.picture_links import LINK_PATH, LINK_SECONDS, FileLinks, LinkedFile
from bot.core.errors import NotFound


def requested(path: str) -> web.Request:
    request = make_mocked_request("GET", path)
    name = path.partition("?")[0].removeprefix(LINK_PATH.format(name=""))
    request.match_info["name"] = name
    return request


def test_an_address_names_its_file_until_it_expires() -> None:
    now = 1000.0
    links = FileLinks(lambda: now)
    for file in (LinkedFile(7, 3, "png", None), LinkedFile(2**50, 0, "webp", 40)):
        path = links.path(file)
        assert links.file_of(requested(path)) == file
    now += LINK_SECONDS + 1
    with pytest.raises(NotFound):
        links.file_of(requested(path))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("7-3", "7-2"),
        ("webp", "png"),
        ("expires=46", "expires=56"),
        ("quality=40", "quality=41"),
        ("quality=40", "quality=%C3%A9"),
        ("signature=", "signature=%C3%A9"),
        ("signature=", "other="),
        ("expires=4600", ""),
    ],
)
def test_a_changed_address_is_not_found(old: str, new: str) -> None:
    links = FileLinks(lambda: 1000.0)
    path = links.path(LinkedFile(7, 3, "webp", 40))
    assert old in path
    with pytest.raises(NotFound):
        links.file_of(requested(path.replace(old, new)))


def test_another_process_knows_no_address_of_this_one() -> None:
    path = FileLinks(lambda: 0.0).path(LinkedFile(7, 3, "png", None))
    with pytest.raises(NotFound):
        FileLinks(lambda: 0.0).file_of(requested(path))
