"""The easel command and the composition root."""
