"""The model families: one folder each, with `spec.py` (no torch) and `model.py` (torch)."""
