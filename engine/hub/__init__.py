"""Downloads models from a hub, at pinned commits, and finds them on this disk. Imports no torch."""
