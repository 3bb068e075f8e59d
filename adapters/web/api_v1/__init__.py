"""Easel's own HTTP API for programs, under ``/api/v1``."""
