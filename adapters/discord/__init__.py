"""Discord: slash commands, cards and buttons by discord.py."""
