"""The doors of Easel: each platform turns its events into Studio calls and cards into its own widgets."""
