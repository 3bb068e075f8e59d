"""Linked accounts: one person with accounts on several platforms."""
