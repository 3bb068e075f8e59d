"""Z-Image: its spec and its model."""
