"""Frozen words of the core: people, requests, jobs, pictures, actions, cards, quotas, errors."""
