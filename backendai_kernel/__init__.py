"""Jupyter notebooks whose cells run in Backend.AI compute sessions."""

__version__ = "0.1.0"
