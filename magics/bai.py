"""``%load_ext bai``: the short name of `backendai_magics`."""

from backendai_magics import load_ipython_extension, unload_ipython_extension

__all__ = ["load_ipython_extension", "unload_ipython_extension"]
