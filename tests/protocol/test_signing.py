from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from backendai_kernel.protocol import signing

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

# Method, path and query, date, host, content type, version, derived key, signature: API reference
# 2.8, computed with the official clients' own functions. V5 is signed with the calendar date of the
# date's own offset, and shows that case and parameters of a content type do not matter.
VECTORS = {
    "V1": (
        "GET",
        "/manager/announcement",
        "2024-01-15T09:30:45.123456+00:00",
        "api.example.com",
        "text/plain",
        "v7.20230615",
        "48b8615ff1d349ce5c2b51cb5820a5799d1888467520c17605b8cfe81f1c70c0",
        "4609ce08d687496be98888a570ad1dd8b9aa723673707472fce8d6fd3a6dee9a",
    ),
    "V2": (
        "POST",
        "/session",
        "2024-01-15T09:30:45+00:00",
        "127.0.0.1:8090",
        "application/json",
        "v7.20230615",
        "4abd564af956b58f9b64022ba4cc1486dfd2fb84882f0bd9de2b8117d88baf99",
        "1383e29804dd2fe854b8b850f5a5fd1e220f76880846f1391e982106f15f8ffe",
    ),
    "V3": (
        "DELETE",
        "/session/my-sess?owner_access_key=AKIA%2BX+Y&forced=true",
        "2024-12-31T23:59:59.999999+00:00",
        "manager.example.com:8443",
        "text/plain",
        "v8.20240915",
        "26d449a00cd51ff61c767a391169c1a29d29481e3e6e6b22fa54787b2ce5be0d",
        "8bdfa94463c6ca6d096693f7587af195e09993559198077577f7336bb52c13f6",
    ),
    "V4": (
        "GET",
        "/bai/stream/session/11111111-2222-3333-4444-555555555555/tcpproxy?app=jupyter"
        "&envs=%7B%22A%22:+%221+2%22%7D",
        "2025-08-01T00:00:01.000007+00:00",
        "manager.example.com",
        "application/octet-stream",
        "v9.20250722",
        "b4a0ca0e8af1fafcd1c14519bb7b6287b4f3b21c959a664ce4b2443706c5df50",
        "0a463f5f6cb80585b869d11386fae9d0be486eaa3dca79d64316e471982eb63b",
    ),
    "V5": (
        "post",
        "/session/s1/upload",
        "2024-02-29T23:30:00.500000+09:00",
        "127.0.0.1:8090",
        "Multipart/Form-Data",
        "v7.20230615",
        "cefca692e3d5fce7989309b920dd0e9247d1c5e8e03f733e1d751c7aa4293dba",
        "02383ff8e8a5a77a4ad3e6f74a9356a1a9b65ad22741876cc796a84cb337ab03",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_the_signing_key_of_a_vector(name):
    date, host, key = (VECTORS[name][i] for i in (2, 3, 6))

    assert signing.signing_key(SECRET_KEY, date, host).hex() == key


@pytest.mark.parametrize("name", VECTORS)
def test_the_signature_of_a_vector(name):
    *request, _, expected = VECTORS[name]

    assert signing.signature(SECRET_KEY, *request) == expected


@pytest.mark.parametrize("name", VECTORS)
def test_a_kept_key_gives_the_same_signature(name):
    *request, key, expected = VECTORS[name]

    assert signing.signature_with(bytes.fromhex(key), *request) == expected


def test_the_parameters_of_a_content_type_are_not_signed():
    *request, _, expected = VECTORS["V5"]
    request[4] = "multipart/form-data; boundary=xyz"

    assert signing.signature(SECRET_KEY, *request) == expected


@pytest.mark.parametrize("part", range(6))
def test_every_part_of_a_request_is_signed(part):
    *request, _, expected = VECTORS["V1"]
    request[part] = {0: "PUT", 2: "2024-01-16T09:30:45+00:00"}.get(part, request[part] + "x")

    assert signing.signature(SECRET_KEY, *request) != expected


def test_the_header_of_the_first_vector():
    header = signing.authorization(ACCESS_KEY, VECTORS["V1"][-1])

    assert header == (
        "BackendAI signMethod=HMAC-SHA256, credential=AKIAIOSFODNN7EXAMPLE:"
        "4609ce08d687496be98888a570ad1dd8b9aa723673707472fce8d6fd3a6dee9a"
    )
    assert signing.parse_authorization(header) == (ACCESS_KEY, VECTORS["V1"][-1])


def test_the_old_scheme_word_is_read_too():
    assert signing.parse_authorization("Sorna signMethod=HMAC-SHA256, credential=A:B") == ("A", "B")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic dXNlcjpwdw==",
        "BackendAI credential=A:B",
        "BackendAI signMethod=HMAC-MD5, credential=A:B",
        "BackendAI signMethod=HMAC-SHA256, credential=A",
        "BackendAI signMethod=HMAC-SHA256, credential=:B",
        "BackendAI signMethod=HMAC-SHA256, credential=A:",
    ],
)
def test_a_header_of_another_kind_is_refused(header):
    with pytest.raises(ValueError):
        signing.parse_authorization(header)


def test_a_date_has_its_offset_and_no_fraction_when_there_is_none():
    assert signing.signing_date(datetime(2024, 1, 15, 9, 30, 45, tzinfo=UTC)) == (
        "2024-01-15T09:30:45+00:00"
    )
    korea = timezone(timedelta(hours=9))
    assert signing.signing_date(datetime(2024, 2, 29, 23, 30, 0, 500000, korea)) == (
        "2024-02-29T23:30:00.500000+09:00"
    )


def test_the_date_of_a_request_is_now():
    before = datetime.now(UTC)
    date = datetime.fromisoformat(signing.signing_date())

    assert before <= date <= datetime.now(UTC)
