"""ComfyUI servers as slots: an engine that draws on one, and the workflows that it sends."""
