"""Parts of `gpu_day.py`: a module each, with ``run(day) -> result`` and ``describe(result) -> lines``."""
