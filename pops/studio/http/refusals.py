"""Why a request is not taken, as an error with an HTTP status."""

from __future__ import annotations

from pops.errors import PopsError

__all__ = ["Forbidden", "Malformed", "NotThere", "Refusal", "TooLarge", "TooMany", "TooSlow"]


class Refusal(PopsError):
    """A request is not taken; the message is one line for whoever sent it."""

    status = 400


class Malformed(Refusal):
    """The request is not what this address takes."""


class Forbidden(Refusal):
    """The request comes from where none is taken."""

    status = 403


class NotThere(Refusal):
    """Nothing has this address, or no longer."""

    status = 404


class TooSlow(Refusal):
    """The body did not arrive in time."""

    status = 408


class TooLarge(Refusal):
    """The body is larger than this address takes."""

    status = 413


class TooMany(Refusal):
    """There is no room for the request now."""

    status = 503
