"""The bundled demo model, as package data."""
