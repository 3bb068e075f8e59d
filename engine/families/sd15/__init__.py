"""Stable Diffusion 1.5: its spec and its model."""
