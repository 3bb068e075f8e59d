"""Changes by admins: each is written to the audit log in the transaction that makes it, and can be undone."""
