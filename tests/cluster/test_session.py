"""What the embedded manager promises, asked of a real cluster. A session there takes its time."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from backendai_kernel.errors import ConnectError, NotFound, QuotaExceeded
from backendai_kernel.protocol import calls
from backendai_kernel.protocol.run import Finished, InputRequest, Text
from backendai_kernel.resources import read_resources
from backendai_kernel.run import Run, collect
from backendai_kernel.session import ComputeSession
from backendai_kernel.slots import parse_words, resolve
from backendai_kernel.start import Progress, Request, start_session

pytestmark = pytest.mark.cluster

LIMIT = 180  # seconds


@pytest.fixture(autouse=True)
async def in_time():
    async with asyncio.timeout(LIMIT):
        yield


async def texts(session: ComputeSession, code: str) -> str:
    events = await collect(session.run(code))
    return "".join(event.text for event in events if isinstance(event, Text))


async def first_text(run: Run) -> str:
    async for event in run:
        if isinstance(event, Text):
            return event.text
    raise AssertionError("the run printed nothing")


ENDLESS = "print('running', flush=True)\nimport time\nwhile True: time.sleep(0.05)"


async def test_the_keypair_works(client):
    keypair = await client.send(calls.get_keypair())

    assert keypair.access_key == client.config.access_key
    assert keypair.is_active


async def test_an_unknown_image_is_told_with_what_there_is(client):
    with pytest.raises(NotFound) as caught:
        await start_session(client, Request("pyhton"), f"test-{secrets.token_hex(4)}")

    assert caught.value.message == "There is no image 'pyhton' on this server."
    assert "python" in caught.value.hint


async def test_more_than_the_cluster_has_is_told_and_leaves_nothing(client):
    name = f"test-{secrets.token_hex(4)}"
    with pytest.raises(QuotaExceeded, match="can never start"):
        await start_session(client, Request("python", parse_words(["cpu=4000"])), name)
    page = await client.send(calls.list_sessions(limit=5, filter=f'name == "{name}"'))

    assert all(session.status.is_ending for session in page.items)


async def test_a_notebooks_day(session):
    """One session for many looks: starting one takes longer than all of them."""
    value = await collect(session.run("6 * 7"))
    error = await collect(session.run("1/0"))
    html = await collect(session.run("from IPython.display import HTML\nHTML('<b>x</b>')"))
    async with session.run("name = input('name? ')\nprint('hi', name)") as run:
        request = await anext(run)
        run.give_input("Ada")
        answered = [event async for event in run]

    assert value[0].content["data"] == {"text/plain": "42"}
    assert error[0].content["ename"] == "ZeroDivisionError"
    assert html[0].content["data"]["text/html"] == "<b>x</b>"
    assert request == InputRequest("name? ", is_password=False)
    assert answered == [Text("stdout", "hi Ada\n"), Finished(0)]


async def test_interrupt_cancel_and_restart(session):
    async with session.run(ENDLESS) as run:
        await first_text(run)
        await run.interrupt()
        interrupted = [event async for event in run]
    began = asyncio.Event()

    async def look() -> None:
        async with session.run(ENDLESS) as run:
            await first_text(run)
            began.set()
            async for _ in run:
                pass

    task = asyncio.create_task(look())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    ready = await texts(session, "x = 1; print('ready')")
    await session.restart()

    assert interrupted[0].content["ename"] == "KeyboardInterrupt"
    assert ready == "ready\n"
    assert session.is_fresh
    assert await texts(session, "print('x' in dir())") == "False\n"


async def test_html_that_wedges_the_session_is_survived(session):
    raw = (
        "bai = get_ipython()._bai; html = {'data': {'text/html': '<b>x</b>'}, 'metadata': {}}\n"
        "bai.send_raw(bai.kernel.iopub_socket, 'display_data', html, parent=bai.parent)"
    )
    with pytest.raises(ConnectError, match=r"was lost \(HTTP 500\)"):
        await collect(session.run(raw))

    assert await texts(session, "print('ready')") == "ready\n"


async def test_a_share_of_a_gpu(client):
    known = await client.send(calls.get_slot_types())
    if not any(name.endswith(".shares") for name in known):
        pytest.skip("this cluster gives no shares of a GPU")
    wanted = parse_words(["cpu=1", "mem=1g", "gpu=0.5"])
    steps: list[Progress] = []
    name = f"test-{secrets.token_hex(4)}"
    session = await start_session(client, Request("python", wanted), name, on_progress=steps.append)
    try:
        seen = await session.look()
    finally:
        await session.destroy()

    assert seen is not None
    (slot,) = set(resolve(wanted, known)) - {"cpu", "mem"}
    assert slot in (seen.occupying_slots or "")
    assert steps[-1].status_name == "STARTING PYTHON"


async def test_what_is_free_is_told_of_one_scaling_group_and_refused_of_none(client):
    groups = {slot.where for slot in (await read_resources(client)).slots if slot.where}
    name = min(groups)
    here = await read_resources(client, scaling_group=name)

    assert {slot.where for slot in here.slots if slot.free is not None} == {name}
    with pytest.raises(NotFound, match="no-such-group"):
        await read_resources(client, scaling_group="no-such-group")
