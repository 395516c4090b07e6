"""``python -m backendai_kernel.local``: serve until nobody needs it."""

import os
import sys

if __name__ == "__main__":
    if "--detach" in sys.argv and os.fork():
        os._exit(0)  # whoever started us waits for this one only and never has to reap the other
    from .serve import main

    sys.exit(main())
