"""The table of routes: each has the role that a request needs for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum

from aiohttp import hdrs, web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Role(IntEnum):
    """What an asker may do; each role includes the ones before it.

    ANYONE: nobody is signed in. MEMBER: a person with history and quota of their own. ADMIN: a member who is an admin
    of a server or group. OWNER: an operator of this Easel.
    """

    ANYONE = 0
    MEMBER = 1
    ADMIN = 2
    OWNER = 3


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path with its handler.

    Attributes:
        method: ``GET``, ``POST``, ...
        path: As aiohttp writes it, with ``{name}`` for variable parts.
        handler: What answers.
        role: The least role that may call it.
        allow_head: Whether a GET answers HEAD too; not for streams.
    """

    method: str
    path: str
    handler: Handler
    role: Role
    allow_head: bool = True


class RouteTable:
    """The roles of an application's routes."""

    def __init__(self) -> None:
        self._roles: dict[web.AbstractRoute, Role] = {}

    def add(self, app: web.Application, routes: Iterable[Route]) -> None:
        """Add routes to the application."""
        for route in routes:
            resource = app.router.add_resource(route.path)
            methods = [route.method]
            if route.method == hdrs.METH_GET and route.allow_head:
                methods.append(hdrs.METH_HEAD)
            for method in methods:
                self._roles[resource.add_route(method, route.handler)] = route.role

    def roles(self) -> dict[tuple[str, str], Role]:
        """Return the role of each method and path."""
        found: dict[tuple[str, str], Role] = {}
        for route, role in self._roles.items():
            assert route.resource is not None
            found[route.method, route.resource.canonical] = role
        return found

    def role_of(self, request: web.Request) -> Role:
        """Return the role that a request needs.

        Members alone learn which paths exist. A route that was added without a role is the owner's.
        """
        match = request.match_info
        if match.http_exception is not None:
            return Role.MEMBER
        return self._roles.get(match.route, Role.OWNER)


ROUTES = web.AppKey("routes", RouteTable)
"""Where the application keeps its table."""
