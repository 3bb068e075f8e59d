"""The fair queue: who is next, and how long a picture takes."""
