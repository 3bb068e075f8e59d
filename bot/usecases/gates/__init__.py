"""What stands between a request and the queue: bans, access, words, quotas; each says in its own words why not."""
