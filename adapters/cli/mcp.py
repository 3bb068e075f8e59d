"""`easel mcp`: the MCP server on standard input and output, for a running service or for one of its own."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from adapters.cli import environment, lock
from adapters.cli.environment import AppSettings
from adapters.cli.output import language, text, write
from adapters.cli.wiring import opened
from adapters.mcp.tools import PATH, Caller, Tools, is_installed
from bot.core.errors import BadInput, Unavailable
from bot.core.sign_in import PAGE, PAGE_OWNER
from bot.observability import logs

if TYPE_CHECKING:
    from mcp.server.lowlevel.server import Server

KEY = "EASEL_API_KEY"
"""Variable with the API key for a service that asks for one. It is no argument, which other users of a machine can read."""


def main(args: argparse.Namespace) -> int:
    """Serve until standard input ends. Returns 0; raises Refusal when it can't start."""
    if not is_installed():
        raise BadInput("cli.mcp.missing")
    asyncio.run(_until_terminated(_main(args.url)))
    return 0


async def _until_terminated(work: Coroutine[Any, Any, None]) -> None:
    """Do the work; SIGTERM cancels it, so that what it holds is closed in order."""
    task = asyncio.create_task(work, name="mcp")
    with contextlib.suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        if not task.cancelled():
            raise


async def _main(url: str | None) -> None:
    if url is not None:
        await _for_service(url)
        return
    app = environment.load()
    # Standard output is the protocol's; lines go to standard error.
    logs.configure(app.core, more_secrets=app.secrets())
    if lock.holder_of(app.core.data_dir) is not None:
        await _for_service(_own_address(app))
        return
    await _alone(app)


def _own_address(app: AppSettings) -> str:
    """Return the address of the page of the service that runs with these settings. Raises BadInput if it has none."""
    address = next((url for one in app.enabled if (url := one.settings.local_url)), "")
    if not address:
        raise BadInput("cli.mcp.no_page", folder=str(app.core.data_dir))
    return address


async def _alone(app: AppSettings) -> None:
    """Serve the tools of a service that runs in this process, without its page and its chats."""
    from adapters.mcp.server import make_server  # noqa: PLC0415 - the package is optional

    os.umask(0o077)
    with lock.held(app.core.data_dir):
        async with opened(AppSettings(app.core)) as easel:
            write(text("cli.mcp.alone", title=easel.title, folder=str(app.core.data_dir.absolute())), sys.stderr)
            caller = Caller(replace(PAGE_OWNER, locale=language()), PAGE)
            tools = Tools(easel.studio)
            serving = asyncio.create_task(_serve(make_server(tools, lambda _: caller)), name="mcp streams")
            drawing = asyncio.create_task(easel.dispatch.ended(), name="dispatch")
            try:
                await asyncio.wait({serving, drawing}, return_when=asyncio.FIRST_COMPLETED)
                await (drawing if drawing.done() else serving)
            finally:
                for task in (serving, drawing):
                    task.cancel()
                await asyncio.gather(serving, drawing, return_exceptions=True)
                await tools.close()


async def _for_service(url: str) -> None:
    """Pass the messages of standard input to a running service, and its answers back.

    Raises:
        Unavailable: The service can't be reached, or asks for another key.
    """
    import mcp_types as types  # noqa: PLC0415 - the package is optional
    from mcp.client.client import Client  # noqa: PLC0415 - see above
    from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415 - see above
    from mcp.server.lowlevel.server import Server  # noqa: PLC0415 - see above
    from mcp.shared._httpx_utils import create_mcp_http_client  # noqa: PLC0415 - see above
    from mcp.shared.exceptions import MCPError  # noqa: PLC0415 - see above

    key = os.environ.get(KEY, "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    headers["Accept-Language"] = language().replace("_", "-")
    async with create_mcp_http_client(headers=headers) as http:
        await _check(http, url)
        async with Client(streamable_http_client(url.rstrip("/") + PATH, http_client=http)) as client:

            async def list_tools(ctx: Any, params: Any) -> types.ListToolsResult:  # noqa: ARG001 - mcp's signature
                return await client.list_tools()

            async def call_tool(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
                async def report(progress: float, total: float | None, message: str | None) -> None:
                    await ctx.session.report_progress(progress, total, message)

                try:
                    return await client.call_tool(params.name, params.arguments, progress_callback=report)
                except MCPError as error:
                    # A service that restarts is there again for the next call.
                    sentence = text("cli.mcp.unreachable", url=url, reason=str(error))
                    return types.CallToolResult(content=[types.TextContent(type="text", text=sentence)], is_error=True)

            server: Server[Any] = Server(
                "easel",
                version=version("easel"),
                title="Easel",
                instructions=client.instructions,
                on_list_tools=list_tools,
                on_call_tool=call_tool,
            )
            await _serve(server)


async def _check(http: Any, url: str) -> None:
    """Raise Unavailable if a service does not answer, or refuses the key."""
    import httpx2  # noqa: PLC0415 - the package is optional

    try:
        answer = await http.post(url.rstrip("/") + PATH, json={})
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise Unavailable("cli.mcp.unreachable", url=url, reason=str(error) or type(error).__name__) from None
    if answer.status_code in {401, 403}:
        raise Unavailable("cli.mcp.key", url=url, variable=KEY)
    if answer.status_code in {404, 405, 503}:
        raise Unavailable("cli.mcp.no_server", url=url, status=answer.status_code)


async def _serve(server: Server[Any]) -> None:
    """Run a server on standard input and output until the input ends."""
    from mcp.server.stdio import stdio_server  # noqa: PLC0415 - the package is optional

    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())
