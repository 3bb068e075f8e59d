"""Pure rules of quotas: terms, which rules apply, and what is left. No clock, no database."""
