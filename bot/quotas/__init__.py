"""Quotas: rules, credits, the ledger and what is left."""
