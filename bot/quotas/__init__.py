"""Quotas: rules, usage, credits and the ledger."""
