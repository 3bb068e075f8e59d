"""Any diffusers pipeline with `callback_on_step_end`: each picture is the pipeline's own call, paused between steps."""
