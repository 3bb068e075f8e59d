"""Memory planning: estimates what a model takes, chooses a placement on the device, and applies it."""
