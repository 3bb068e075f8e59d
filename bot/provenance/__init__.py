"""What is written into each picture about how it was made."""
