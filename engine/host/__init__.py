"""The child process that holds the device, and its supervision."""
