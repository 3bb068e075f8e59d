"""Commands: their model, the registry, the parser of typed lines, and permissions."""
