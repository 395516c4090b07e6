"""The environment variables of a session's code: the server's own, and as little else as possible.

Source: API reference 10.7; recording 04.
"""

from __future__ import annotations

import os
import site
from collections.abc import Iterable, Mapping
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from pathlib import Path

from .processes import MARK

GPU_MODEL = "Simulated GPU"
_GPU_MEMORY = 16  # GiB of one whole simulated device
_SMALLEST_SHARE = Decimal("0.1")

# What belongs to the manager's own user or notebook, not to a container. The keypairs above all.
_NOT_INHERITED = (
    "BACKEND_",
    "BACKENDAI_",
    "SORNA_",
    "IPYTHON",
    "JPY_",
    "JUPYTER",
    "MPL",
    "PYTEST_",
    "PYTHON",
    "XDG_",
    "COLUMNS",
    "LINES",
    "VIRTUAL_ENV",
)


def environment_of(
    inherited: Mapping[str, str],
    *,
    session_id: str,
    kernel_id: str,
    name: str,
    image: str,
    access_key: str,
    work: Path,
    python: str,
    slots: Mapping[str, Decimal],
    given: Mapping[str, str],
    service_ports: str = "",
    preopen_ports: Iterable[int] = (),
) -> dict[str, str]:
    """Return the environment of one container.

    Args:
        inherited: The manager's own environment, of which `_NOT_INHERITED` is left out.
        python: The session's interpreter; its folder comes first in ``PATH``.
        given: The user's own variables; the server's win.
    """
    kept = {k: v for k, v in inherited.items() if not k.startswith(_NOT_INHERITED)}
    cpu = str(max(1, int(slots.get("cpu", 1))))
    folders = (work / ".local" / "bin", Path(python).parent)
    return {
        **kept,
        "PYTHONUSERBASE": inherited.get("PYTHONUSERBASE") or site.getuserbase(),
        "PYTHONUNBUFFERED": "1",
        **given,
        "HOME": str(work),
        "PWD": str(work),
        "LANG": "C.UTF-8",
        "TERM": "xterm",
        "SHELL": kept.get("SHELL", "/bin/sh"),
        "PATH": os.pathsep.join([*map(str, folders), kept.get("PATH", os.defpath)]),
        "NPROC": cpu,
        "OMP_NUM_THREADS": cpu,
        "OPENBLAS_NUM_THREADS": cpu,
        MARK: kernel_id,
        "BACKENDAI_SESSION_ID": session_id,
        "BACKENDAI_SESSION_NAME": name,
        "BACKENDAI_KERNEL_IMAGE": image,
        "BACKENDAI_ACCESS_KEY": access_key,
        "BACKENDAI_SERVICE_PORTS": service_ports,
        "BACKENDAI_PREOPEN_PORTS": ",".join(map(str, preopen_ports)),
        "BACKENDAI_CLUSTER_HOST": "main1",
        "BACKENDAI_CLUSTER_HOSTS": "main1",
        "BACKENDAI_CLUSTER_IDX": "1",
        "BACKENDAI_CLUSTER_LOCAL_RANK": "0",
        "BACKENDAI_CLUSTER_REPLICAS": "main:1",
        "BACKENDAI_CLUSTER_ROLE": "main",
        "BACKENDAI_CLUSTER_SIZE": "1",
        **_gpu(slots.get("cuda.shares", Decimal(0))),
    }


def _gpu(shares: Decimal) -> dict[str, str]:
    """Return what tells a program of its simulated GPUs; *shares* is spread over whole devices."""
    if not shares:
        return {"GPU_COUNT": "0", "N_GPUS": "0"}
    count = int(shares.to_integral_value(ROUND_UP))
    # Each device gives tenths, and what is left over is lost: 1.5 on two devices is 1.4.
    share = (shares / count).quantize(_SMALLEST_SHARE, ROUND_DOWN)
    memory = share * _GPU_MEMORY
    devices = range(count)
    return {
        "GPU_COUNT": str(count),
        "N_GPUS": str(count),
        "GPU_TYPE": "cuda",
        "GPU_MODEL_NAME": GPU_MODEL,
        "GPU_CONFIG": ",".join(f"{n}:{memory.normalize():f}g" for n in devices),
        "TF_GPU_MEMORY_ALLOC": ",".join(f"{n}:{int(memory * 1024)}" for n in devices),
        "TF_MIN_GPU_MULTIPROCESSOR_COUNT": "4",
        "BACKENDAI_MOCK_CUDA_DEVICES": ",".join(f"simulated-{n}" for n in devices),
        "BACKENDAI_MOCK_CUDA_DEVICE_COUNT": str(count),
    }
