"""There is no pycuda where the doubles are: CUDA is reached by libcudart's."""

raise ImportError("No module named 'pycuda'")
