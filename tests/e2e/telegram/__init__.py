"""Telegram from the outside: its real client against the stand-in."""
