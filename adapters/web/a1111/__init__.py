"""The HTTP API of AUTOMATIC1111's web UI (``/sdapi/v1``), for programs that were written for it."""
