"""SQL of quotas: the ledger, quota rules and credits."""
