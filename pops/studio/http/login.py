"""The password of a studio: who gives it once is known by a cookie."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from urllib.parse import parse_qs

from cachetools import TTLCache

from pops.studio.http.refusals import Refusal

__all__ = ["MOST_FORM", "Login", "NoPassword"]

COOKIE = "pops_studio"
MOST_FORM = 4096  # bytes of the form with the password
MOST_TRIES = 10  # of one address, before it has to wait
WAIT = 60.0  # seconds
MOST_ADDRESSES = 10_000  # whose tries are remembered


class NoPassword(Refusal):
    """The password is missing or wrong."""

    status = 401


class TooManyTries(Refusal):
    """An address gave wrong passwords too often."""

    status = 429


class Login:
    """Who may use the studio.

    Args:
        password: What is asked of everybody.
    """

    def __init__(self, password: str) -> None:
        self._password = _digest(password.encode())
        self._token = secrets.token_urlsafe(32)
        self._tries: TTLCache[str, int] = TTLCache(MOST_ADDRESSES, WAIT)

    @property
    def cookie(self) -> str:
        """The value of the header Set-Cookie for whoever gave the password."""
        return f"{COOKIE}={self._token}; Path=/; HttpOnly; SameSite=Lax"

    def admit(self, headers: Mapping[str, str], address: str) -> None:
        """Let a request pass that carries the cookie, or the password itself.

        Args:
            headers: The headers of the request, by their names in small letters.
            address: The address of the sender.

        Raises:
            Refusal: It carries neither, or the address tried too often.
        """
        found = re.search(rf"(?:^|;)\s*{COOKIE}=([\w-]+)", headers.get("cookie", ""), re.ASCII)
        if found and compare_digest(_digest(found[1].encode()), _digest(self._token.encode())):
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise NoPassword("this studio asks for its password")
        self._check(given.strip().encode("latin-1"), address)

    def check_form(self, form: bytes, address: str) -> None:
        """Check the password in a form that was sent.

        Args:
            form: The body, as `application/x-www-form-urlencoded`.
            address: The address of the sender.

        Raises:
            Refusal: The password is wrong, or the address tried too often.
        """
        try:
            fields = parse_qs(form.decode("latin-1"), max_num_fields=8)
        except ValueError:
            fields = {}
        self._check(fields.get("password", [""])[0].encode(), address)

    def _check(self, given: bytes, address: str) -> None:
        tries = self._tries.get(address, 0)
        if tries >= MOST_TRIES:
            raise TooManyTries("too many wrong passwords: try again in a minute")
        if not compare_digest(_digest(given), self._password):
            self._tries[address] = tries + 1
            raise NoPassword("the password is wrong")


def _digest(text: bytes) -> bytes:
    """Digest a text, so that the time of a comparison tells nothing of its length."""
    return sha256(text).digest()
