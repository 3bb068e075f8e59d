"""Who may use this Easel: owners, claims, newcomers and their held requests."""
