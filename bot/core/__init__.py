"""The shared kernel: frozen dataclasses, errors, ports and text helpers. No database access."""
