"""Typed commands: their table, their parser and the permissions that they need."""
