"""Webhooks: programs are told of the end of their jobs."""
