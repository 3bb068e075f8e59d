"""Commands of admins: settings of a place, the audit log and undo."""
