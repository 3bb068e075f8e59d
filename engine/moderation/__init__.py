"""Judges pictures in a process of its own. Imports neither the bot nor the engine's drawing side."""
