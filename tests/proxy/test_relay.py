"""What is kept of requests whose output may come late."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

from backendai_kernel.protocol.run import Text
from backendai_kernel.proxy.relay import Relay


class File(bytearray):
    """A buffer that can be looked after."""


def test_of_a_request_that_brought_a_file_only_the_header_is_kept():
    sent: list[Any] = []
    kernel = SimpleNamespace(
        session=SimpleNamespace(send=lambda *args, parent, **rest: sent.append(parent)),
        iopub_socket=None,
        _topic=str,
    )
    relay = Relay(kernel)
    file = File(b"content")
    kept = weakref.ref(file)
    header = {"msg_id": "one", "msg_type": "comm_msg", "extra": 1}
    origin = relay.remember({"header": header, "content": {}, "buffers": [memoryview(file)]})
    del file
    gc.collect()
    relay.deliver(Text("stdout", "late"), origin)

    assert kept() is None
    assert sent == [{"header": header}]
