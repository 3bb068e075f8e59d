"""SQL of quotas: rules, the ledger and credits."""
