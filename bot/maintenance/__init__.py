"""Checks of the data folder and the machine's clock."""
