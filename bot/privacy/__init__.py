"""Privacy: export and deletion of people's data, and retention of pictures."""
