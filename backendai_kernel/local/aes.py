"""AES-256 in CBC mode, decryption only, so that a login body needs no package for it.

Source: FIPS 197 and SP 800-38A; the tests hold their vectors.
"""

from __future__ import annotations

_BLOCK = 16
_ROUNDS = 14


def _double(value: int) -> int:
    value <<= 1
    return (value ^ 0x11B) if value & 0x100 else value


def _times(a: int, b: int) -> int:
    """Multiply in the field of 256 elements."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a, b = _double(a), b >> 1
    return product


def _substitutions() -> bytes:
    box = bytearray([0x63] * 256)
    p = q = 1
    while True:
        p = p ^ _double(p)  # times 3
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q &= 0xFF
        if q & 0x80:
            q ^= 0x09
        rotated = (q | q << 8) * 1
        box[p] = (q ^ rotated >> 7 ^ rotated >> 6 ^ rotated >> 5 ^ rotated >> 4) & 0xFF ^ 0x63
        if p == 1:
            return bytes(box)


_BOX = _substitutions()
_UNBOX = bytes(_BOX.index(value) for value in range(256))


def _round_keys(key: bytes) -> list[bytes]:
    words = [key[i : i + 4] for i in range(0, 32, 4)]
    constant = 1
    for i in range(8, 4 * (_ROUNDS + 1)):
        word = words[-1]
        if i % 8 == 0:
            word = bytes(_BOX[b] for b in word[1:] + word[:1])
            word = bytes([word[0] ^ constant]) + word[1:]
            constant = _double(constant)
        elif i % 8 == 4:
            word = bytes(_BOX[b] for b in word)
        words.append(bytes(a ^ b for a, b in zip(words[i - 8], word, strict=True)))
    return [b"".join(words[i : i + 4]) for i in range(0, len(words), 4)]


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _unmix(state: bytes) -> bytes:
    mixed = bytearray()
    for at in range(0, _BLOCK, 4):
        column = state[at : at + 4]
        for row in range(4):
            factors = (14, 11, 13, 9)
            value = 0
            for i, byte in enumerate(column):
                value ^= _times(byte, factors[(i - row) % 4])
            mixed.append(value)
    return bytes(mixed)


def _decrypt_block(block: bytes, keys: list[bytes]) -> bytes:
    state = _xor(block, keys[-1])
    for number in range(_ROUNDS - 1, -1, -1):
        shifted = bytes(state[(i - 4 * (i % 4)) % _BLOCK] for i in range(_BLOCK))
        state = _xor(bytes(_UNBOX[b] for b in shifted), keys[number])
        if number:
            state = _unmix(state)
    return state


def decrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    """Return the plain text, its padding taken off.

    Args:
        key: 32 bytes.
        iv: 16 bytes.
        data: A multiple of 16 bytes, padded as PKCS #7 says.

    Raises:
        ValueError: A length or the padding is wrong.
    """
    if len(key) != 32 or len(iv) != _BLOCK or not data or len(data) % _BLOCK:
        raise ValueError("key, initialization vector or data is of the wrong length")
    keys = _round_keys(key)
    plain = b""
    for at in range(0, len(data), _BLOCK):
        block = data[at : at + _BLOCK]
        plain += _xor(_decrypt_block(block, keys), iv)
        iv = block
    padding = plain[-1]
    if not 1 <= padding <= _BLOCK or plain[-padding:] != bytes([padding]) * padding:
        raise ValueError("the padding is wrong")
    return plain[:-padding]
