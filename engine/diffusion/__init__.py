"""Torch from here on: loading, batching, drawing, encoding."""
