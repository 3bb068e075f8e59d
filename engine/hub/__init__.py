"""Models from a hub: what to take, where it lies, which commit it is, and how it comes. Knows no torch."""
