"""SQL of linked accounts, sessions and credentials."""
