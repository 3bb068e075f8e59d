"""SQL of maintenance: checks of the database file, of the ledger and of the clock."""
