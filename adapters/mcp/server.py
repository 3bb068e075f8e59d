"""The tools as a server of the ``mcp`` package (extra ``mcp``), which knows the protocol in all its versions."""

from __future__ import annotations

import base64
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server

from adapters.mcp.tools import TOOLS, WEBP, Caller, ToolDescription, ToolResult, Tools

INSTRUCTIONS = (
    "Easel draws pictures. Call draw with what the person wants to see, in plain words; show them the addresses of the "
    "originals. Call edit to change a picture, and history to find earlier ones. Drawing takes seconds to minutes, and "
    "every picture counts against the person's quota."
)

Context = ServerRequestContext[Any, Any]


def make_server(tools: Tools, caller_of: Callable[[Context], Caller]) -> Server[Any]:
    """Return a server with the tools.

    Args:
        tools: The tools.
        caller_of: Tells who calls.
    """

    async def list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:  # noqa: ARG001 - mcp's signature
        return types.ListToolsResult(tools=[_listed(tool) for tool in TOOLS])

    async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        async def report(progress: float, message: str) -> None:
            await ctx.session.report_progress(progress, 1.0, message)

        return _answer(await tools.call(caller_of(ctx), params.name, params.arguments or {}, report))

    return Server(
        "easel",
        version=version("easel"),
        title="Easel",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _listed(tool: ToolDescription) -> types.Tool:
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.arguments.model_json_schema(),
        annotations=types.ToolAnnotations(
            title=tool.title, read_only_hint=tool.reads_only, destructive_hint=False, open_world_hint=False
        ),
    )


def _answer(result: ToolResult) -> types.CallToolResult:
    return types.CallToolResult(
        content=[
            types.TextContent(type="text", text=result.text),
            *(
                types.ImageContent(type="image", data=base64.b64encode(one).decode("ascii"), mime_type=WEBP)
                for one in result.pictures
            ),
        ],
        structured_content=None if result.data is None else dict(result.data),
        is_error=result.failed,
    )
