"""A program that stands for a Jupyter server: it starts a kernel, and may be killed above it.

``python -m tests.faults.parent -f FILE``
"""

from __future__ import annotations

import os
import subprocess
import sys

if __name__ == "__main__":
    sys.exit(
        subprocess.run(
            [sys.executable, "-m", "backendai_kernel", *sys.argv[1:]],
            env=os.environ | {"JPY_PARENT_PID": str(os.getpid())},
            check=False,
        ).returncode
    )
