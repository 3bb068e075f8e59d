"""SQL of privacy: exports, forgetting and retention."""
