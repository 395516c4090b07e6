# Runs inside the session's own interpreter, before any code of the user: Python 3.8 and later,
# ipykernel 5 and later, nothing else installed. It is sent as text, never imported here.
#
# The server's runner keeps one MIME type of an output, chokes on HTML, and drops display updates,
# comms, pager and whatever a thread says after its cell. So all that ipykernel sends is caught where
# it leaves, in Session.send, and goes out as an envelope: a display whose only type is an SVG
# comment, which passes unchanged, in order, and without the cut that text is subject to.
#
# What the kernel proxy wants is in a comment line before the code: "#%bai:NONCE {json}". What is too
# long for one request comes in packed parts before it.
import base64
import inspect
import threading

VERSION = 4
MARK = "#%bai:"
PART = 256 * 1024  # bytes of a part, as they stand in a message
LARGE = 64 * 1024  # letters of a text that is looked at before it is written as JSON
NOTHING_TO_ESCAPE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
TEXT = 2 * 1024 * 1024  # characters of a stream message: at most 8 of the 10 MiB that pass
LATE = 4096  # messages kept for the next request
NAMES = 2000  # names in a snapshot
PACKETS = 8  # requests whose parts are kept until they are whole
FLUSH = 0.05  # seconds that a stream keeps text; ipykernel has 0.2
LOOK = 1.0  # seconds between two looks for a file that asks for a fresh interpreter
SETTLE = 0.02  # seconds: a question travels by another socket than the output before it
RICH = frozenset(
    "display_data update_display_data execute_result clear_output error "
    "comm_open comm_msg comm_close".split()
)
CARRIER_BEGIN = b'{"data":{"image/svg+xml":"<!--bai:%d:%s:%d:%d:%d:%d:'
CARRIER_END = b'-->"},"metadata":{},"transient":{}}'
DISPLAYS = ("display_data", "update_display_data", "execute_result")
DEBUGGERS = ("debugpy", "pydevd")  # they wait for a front end that never comes here
ENDINGS = ("error", "reply", "result", "hello")  # the request is over in a moment


def thread_parent(thread=None):
    return (thread or threading.current_thread()).__dict__.get("_bai_parent")


def current_parent(kernel):
    if hasattr(kernel, "get_parent"):
        return kernel.get_parent("shell")
    return kernel._parent_header


def current_ident(kernel):
    ident = kernel._parent_ident
    try:
        return ident["shell"]
    except TypeError:
        return ident


def request_id(parent):
    header = (parent or {}).get("header", parent) or {}
    return header.get("msg_id", "")


def reply_socket(kernel):
    thread = getattr(kernel, "shell_channel_thread", None)
    if thread is not None:  # ipykernel 7
        return thread.manager.get_subshell_to_shell_channel_socket(None)
    stream = getattr(kernel, "shell_stream", None) or kernel.shell_streams[0]
    return getattr(stream, "socket", stream)


def error_of(content):
    return {name: content.get(name) for name in ("ename", "evalue", "traceback")}


def is_of_user(task):
    frame = getattr(task.get_coro(), "cr_frame", None)
    module = frame.f_globals.get("__name__", "").split(".")[0] if frame else "ipykernel"
    return module not in ("ipykernel", "tornado", "zmq", "jupyter_client", "_backendai")


def needs_no_json(value):
    """Tell whether it is a large text that JSON has as it is, such as a picture's base64."""
    if not (isinstance(value, str) and len(value) > LARGE and value.isascii()):
        return False
    pieces = (value[start : start + PART] for start in range(0, len(value), PART))
    return not any(piece.encode().translate(None, NOTHING_TO_ESCAPE) for piece in pieces)


def parts_of(texts):
    """Yield texts in parts, each with how it is written in a JSON string."""
    for text in texts:
        start = 0
        while start < len(text):
            part = text[start : start + PART].encode()
            written = part.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
            if len(written) > PART:
                part = part[: PART // 2]
                written = part.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
            yield part, written
            start += len(part)


async def done(result):
    return await result if inspect.isawaitable(result) else result


def plain(value):
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode().rstrip("\n")
    for convert in ("isoformat", "tolist"):
        if hasattr(value, convert):
            return getattr(value, convert)()
    if hasattr(value, "__iter__"):
        return list(value)
    return repr(value)
