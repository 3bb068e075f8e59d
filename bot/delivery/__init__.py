"""Delivery of cards and files: each stored message is synchronised with its chat."""
