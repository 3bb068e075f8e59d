"""Moderation: the word check, judged pictures, bans and reports."""
