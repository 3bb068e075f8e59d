"""SQL of access: access requests and one-time codes."""
