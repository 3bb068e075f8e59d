"""The measurements of `easel bench`: a plain diffusers loop, the engine process, the whole service, and the PNG encoder."""
