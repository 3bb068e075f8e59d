"""SQL of moderation: bans, strikes and log channels."""
