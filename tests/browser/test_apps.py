"""A link to an app, clicked in JupyterLab."""

from __future__ import annotations

import socket
from importlib.util import find_spec

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

pytestmark = pytest.mark.browser

SERVER = """
import http.server, threading

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = f"<h1>From the session</h1><p>{self.path}</p>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *said):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
"""


def test_a_click_opens_the_app_directly_and_through_jupyter(sheet):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sheet.run(f"%bai start python -t web-app --preopen {port}")
    sheet.run(f"%%bai run --session web-app\n{SERVER.replace('PORT', str(port))}")
    cell = sheet.run(f"%bai app web-app {port}")
    links = cell.find(".jp-OutputArea-output a")
    has_proxy = find_spec("jupyter_server_proxy") is not None
    expect(links).to_have_count(2 if has_proxy else 1)

    for number in range(links.count()):
        with sheet.page.expect_popup() as opened:
            links.nth(number).click()
        expect(opened.value.locator("h1")).to_have_text("From the session")
        opened.value.close()
    sheet.run("%bai app --stop")
    sheet.run("%bai rm web-app")
