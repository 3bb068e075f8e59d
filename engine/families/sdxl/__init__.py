"""SDXL: its spec and its model."""
