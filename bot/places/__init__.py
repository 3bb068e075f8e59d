"""Places: the options, time zones and pauses of servers and groups."""
