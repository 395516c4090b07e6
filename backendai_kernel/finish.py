"""``python -m backendai_kernel.finish NAME``: end a session that a kernel had no time to end.

A kernel or a provisioner starts it (`leases.hand_over`) when a server is slower than the seconds
that a front end grants, or when a kernel was killed. It says nothing and leaves nothing behind but,
when it fails, the lease for ``gc``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path


def main() -> int:
    """Return 0 when the session is ended, 1 when it could not be."""
    if hasattr(os, "fork") and os.fork():
        return 0  # whoever started this one lives on, perhaps: it has no child to wait for

    from .orphans import finish

    return 0 if asyncio.run(finish(sys.argv[1], os.environ, cwd=Path.cwd())) else 1


if __name__ == "__main__":
    sys.exit(main())
