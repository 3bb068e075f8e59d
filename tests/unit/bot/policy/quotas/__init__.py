"""Rules: reading, choosing, deciding."""
