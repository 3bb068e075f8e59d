"""The device lives in a child process; this package speaks with it and looks after it."""
