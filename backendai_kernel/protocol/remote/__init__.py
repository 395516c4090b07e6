"""Text for a session's own interpreter: its files are joined and sent, and never imported here.

``common``, ``kept``, ``live``, ``watch``, ``output``, ``requests`` and ``bai`` come in this order, so that each finds what
it needs above it.
"""

PARTS = ("common", "kept", "live", "watch", "output", "requests", "bai")
