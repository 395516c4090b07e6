"""The Jupyter kernel: an IPythonKernel whose cells run in a session."""
