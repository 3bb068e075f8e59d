"""Moderation: the word list, image verdicts, bans and reports."""
