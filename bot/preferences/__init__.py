"""What people set for their own requests, and admins for those of their place: defaults, and who may use what."""
