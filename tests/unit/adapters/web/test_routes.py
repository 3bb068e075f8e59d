"""Every route has a role."""

from __future__ import annotations

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from adapters.web.routes import ROUTES, Role, Route, RouteTable
from tests.unit.adapters.web.harness import WebHarness


async def answer(request: web.Request) -> web.Response:
    return web.Response(text=request.path)


async def role_in(table: RouteTable, app: web.Application, method: str, path: str) -> Role:
    request = make_mocked_request(method, path, app=app)
    request._match_info = await app.router.resolve(request)
    return table.role_of(request)


async def test_a_route_has_the_role_that_it_was_added_with() -> None:
    app, table = web.Application(), RouteTable()
    table.add(
        app,
        [
            Route("GET", "/open/{name}", answer, Role.ANYONE),
            Route("POST", "/open/{name}", answer, Role.ADMIN),
            Route("GET", "/stream", answer, Role.MEMBER, allow_head=False),
        ],
    )
    app.router.add_get("/forgotten", answer)
    assert await role_in(table, app, "GET", "/open/1") is Role.ANYONE
    assert await role_in(table, app, "HEAD", "/open/1") is Role.ANYONE
    assert await role_in(table, app, "POST", "/open/1") is Role.ADMIN
    assert await role_in(table, app, "GET", "/stream") is Role.MEMBER
    # A route that was added in another way is the owner's, and what does not exist is told to members alone.
    assert await role_in(table, app, "GET", "/forgotten") is Role.OWNER
    assert await role_in(table, app, "HEAD", "/stream") is Role.MEMBER
    assert await role_in(table, app, "GET", "/nothing") is Role.MEMBER


async def test_every_route_of_the_page_was_added_with_a_role(app: WebHarness) -> None:
    application = app.server.app
    known = application[ROUTES].roles()
    added = {(route.method, route.resource.canonical) for route in application.router.routes() if route.resource}
    assert added == set(known)
