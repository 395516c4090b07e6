"""What kernel.json starts: ``python -m backendai_kernel -f FILE --profile NAME``."""

from __future__ import annotations

import argparse
import sys


def main(argv: list[str] | None = None) -> None:
    """Run the kernel until it is shut down.

    Our own options are taken out first: to ipykernel ``--profile`` would mean an IPython profile.
    """
    parser = argparse.ArgumentParser("backendai_kernel", add_help=False, allow_abbrev=False)
    parser.add_argument("--profile", default="python")
    parser.add_argument("--image")
    parser.add_argument("-r", "--resource", action="append", default=[])
    options, rest = parser.parse_known_args(sys.argv[1:] if argv is None else argv)

    from ipykernel.kernelapp import IPKernelApp
    from traitlets.config import Config

    from .errors import ConfigError
    from .proxy.kernel import BackendKernel
    from .specs import resolve_profile

    config = Config()
    try:
        profile = resolve_profile(options.profile, image=options.image, resources=options.resource)
        config.BackendKernel.image = profile.image
        config.BackendKernel.resources = list(profile.resources)
    except ConfigError as exc:
        # A kernel that does not start tells nobody why; one that runs says so in the first cell.
        config.BackendKernel.problem = str(exc)
    IPKernelApp.launch_instance(argv=rest, kernel_class=BackendKernel, config=config)


if __name__ == "__main__":
    main()
