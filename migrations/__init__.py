"""Numbered SQL files, forward only; a package so that they are found from a wheel as well."""
