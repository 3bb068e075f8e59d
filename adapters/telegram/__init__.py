"""Telegram: messages, cards and buttons by aiogram."""
