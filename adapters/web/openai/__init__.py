"""The OpenAI-compatible API of images, under ``/v1``."""
