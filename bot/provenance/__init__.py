"""Provenance: metadata in each picture about how it was drawn."""
