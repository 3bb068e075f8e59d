"""From a typed request to a queued job: flags, sizes, styles, admission, and actions on finished jobs."""
