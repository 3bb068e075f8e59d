"""Telegram's adapter, part by part."""
