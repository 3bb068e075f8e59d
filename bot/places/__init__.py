"""Servers, groups and channels: their options, time zones and pauses."""
