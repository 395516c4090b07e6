"""The login of a web server: cookie, plain and encoded bodies."""

from __future__ import annotations

import aiohttp
import pytest

from backendai_kernel.local import aes
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.weblogin import decode

ENCODED = (
    b"AAAAAAAAAAAAAAAA:+fpddicVfb4t+abVtIo6rz90DDJdJDMl+9Y+Z765rmuXDWfq5S+lmC902tGW40yYvmtPfzhrzU+"
    b"uJc8qaF/tfA=="
)
"""Source: API reference 2.11."""


def test_a_block_is_decrypted_as_the_standard_says() -> None:
    key = bytes(range(32))
    cipher = bytes.fromhex("8ea2b7ca516745bfeafc49904b496089")
    plain = bytes.fromhex("00112233445566778899aabbccddeeff")

    assert aes._decrypt_block(cipher, aes._round_keys(key)) == plain  # FIPS 197, appendix C.3


def test_an_encoded_login_body_is_read() -> None:
    text = decode(ENCODED, "http://127.0.0.1:8090")

    assert text == b'{"username": "user@example.com", "password": "pw"}'


def test_a_body_for_another_endpoint_cannot_be_read() -> None:
    with pytest.raises(ValueError):
        decode(ENCODED, "http://127.0.0.1:8091")


async def test_a_login_gives_a_cookie_that_signs_for_its_owner(manager: LocalManager) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(manager.url, cookie_jar=jar) as http:
        name, password = manager.keypair.user_id, manager.keypair.password
        who = {"username": name, "password": password}
        async with http.get("/func/config/resource-slots") as before:
            assert before.status == 401
        async with http.post("/server/login", json=who) as login:
            assert (await login.json())["authenticated"] is True
        async with http.get("/func/config/resource-slots") as after:
            assert after.status == 200
        async with http.post("/server/logout") as logout:
            assert logout.status == 201
        async with http.get("/func/config/resource-slots") as late:
            assert late.status == 401


async def test_a_wrong_password_is_a_200_that_says_no(manager: LocalManager) -> None:
    who = {"username": manager.keypair.user_id, "password": ""}
    async with (
        aiohttp.ClientSession() as http,
        http.post(manager.url + "/server/login", json=who) as response,
    ):
        answer = await response.json()

    assert (response.status, answer["authenticated"]) == (200, False)
