"""The measurements of `easel bench`: a plain diffusers loop, the engine process and the whole service."""
