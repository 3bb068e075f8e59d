"""SQL of access: newcomers, and one-time codes."""
