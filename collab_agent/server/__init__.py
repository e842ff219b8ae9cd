"""The MCP server: the only importer of mcp."""
