"""The MCP server: tools that language models draw with, at ``/mcp`` and over a program's standard streams."""
