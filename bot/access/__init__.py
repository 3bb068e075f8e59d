"""Access: who may draw, newcomers and their held jobs, and claims of ownership."""
