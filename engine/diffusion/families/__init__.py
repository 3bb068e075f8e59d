"""One module for each family of pipelines."""
