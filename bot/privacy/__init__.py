"""Export, forget and retention of what is stored about people."""
