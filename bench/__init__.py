"""Training speed of recurlm beside NumPy, PyTorch and the machine's own peak: ``python -m bench``."""
