"""What `easel bench` measures: the bare diffusers loop, the engine's process and the whole service, side by side."""
