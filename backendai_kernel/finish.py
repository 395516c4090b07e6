"""``python -m backendai_kernel.finish NAME``: end a session that a kernel had no time to end.

A kernel starts it (`orphans.hand_over`) when its server is slower than the seconds that a front end
grants it. It says nothing and leaves nothing behind but, when it fails, the lease for ``gc``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from .orphans import finish


def main() -> int:
    """Return 0 when the session is ended, 1 when it could not be."""
    return 0 if asyncio.run(finish(sys.argv[1], os.environ, cwd=Path.cwd())) else 1


if __name__ == "__main__":
    sys.exit(main())
