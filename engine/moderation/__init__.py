"""Judges pictures in a process of its own; imports neither the bot nor what draws."""
