"""All SQL, as plain async functions that return frozen dataclasses."""
