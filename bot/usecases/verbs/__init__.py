"""What each typed verb does: one module for each family, from a Call to a Card."""
