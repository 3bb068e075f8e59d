"""The fair queue of waiting jobs: which batch is next, and how long a picture takes."""
