"""What kernel.json starts: ``python -m backendai_kernel -f FILE --profile NAME``."""

from __future__ import annotations

import argparse
import os
import sys


def main(argv: list[str] | None = None) -> None:
    """Run the kernel until it is shut down.

    Our own options are taken out first: to ipykernel ``--profile`` would mean an IPython profile.
    """
    parser = argparse.ArgumentParser("backendai_kernel", add_help=False, allow_abbrev=False)
    parser.add_argument("--profile", default="python")
    parser.add_argument("--image")
    parser.add_argument("-r", "--resource", action="append", default=[])
    parser.add_argument("-m", "--mount", action="append", default=[])
    parser.add_argument("-e", "--env", action="append", default=[])
    parser.add_argument("--project", default="")
    parser.add_argument("--scaling-group", default="")
    parser.add_argument("--values", default="")
    options, rest = parser.parse_known_args(sys.argv[1:] if argv is None else argv)

    _leave_out_debugger()
    from traitlets.config import Config

    from .errors import ConfigError
    from .profiles import resolve_profile
    from .proxy.app import BackendKernelApp
    from .proxy.kernel import BackendKernel
    from .variables import kept_values

    config = Config()
    try:
        profile = resolve_profile(
            options.profile,
            image=options.image,
            resources=options.resource,
            mounts=options.mount,
            environ=options.env,
            project=options.project,
            scaling_group=options.scaling_group,
        )
        config.BackendKernel.image = profile.image
        config.BackendKernel.resources = list(profile.resources)
        config.BackendKernel.mounts = list(profile.mounts)
        config.BackendKernel.project = profile.project
        config.BackendKernel.scaling_group = profile.scaling_group
        environ = kept_values(os.environ, options.values, profile.environ)
        config.BackendKernel.environ = environ
    except ConfigError as exc:
        # A kernel that does not start tells nobody why; one that runs says so in the first cell.
        config.BackendKernel.problem = str(exc)
    BackendKernelApp.launch_instance(argv=rest, kernel_class=BackendKernel, config=config)


def _leave_out_debugger() -> None:
    """Keep ipykernel from loading debugpy: it would stop here and not where the code runs.

    That saves 8 MiB and 0.1 s of each kernel's start. For ipykernel it is as if debugpy were not
    installed; code that runs here can still import it.
    """
    if "debugpy" not in sys.modules:
        sys.modules["debugpy"] = None  # type: ignore[assignment]  # the import system's own "no"
        try:
            import ipykernel.debugger  # noqa: F401
        finally:
            del sys.modules["debugpy"]


if __name__ == "__main__":
    main()
