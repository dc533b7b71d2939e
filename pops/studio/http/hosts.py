"""The names that the studio may be called by, and the places that its visitors come from.

A page of another site can make a browser send requests here under the site's own name, by letting
that name lead to this machine. Such a request names a host that is not ours, and is refused.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

__all__ = ["LOCAL", "Hosts", "network_of"]

LOCAL = ("localhost", "127.0.0.1", "::1")
OF_ONE_PLACE = 64  # the first bits of an IPv6 address: one house has all addresses that begin so


@dataclass(frozen=True)
class Hosts:
    """The names that requests may have in their header Host."""

    names: frozenset[str]
    any_address: bool  # whether plain IP addresses are taken, which no other site can lead here

    @classmethod
    def of(cls, listening: str, allowed: Sequence[str] = ()) -> Hosts:
        """Choose the names for an address to listen on.

        Args:
            listening: The address. One of this machine alone takes the machine's local names only;
                any other takes its host name and every plain IP address, too.
            allowed: More names, with `*` for any letters.

        Returns:
            The names.
        """
        names = {*LOCAL, *(name.lower() for name in allowed)}
        opened = listening not in LOCAL
        if opened:
            own = socket.gethostname().lower()
            names |= {own, f"{own}.local", listening.lower()}
        return cls(frozenset(names), opened)

    def admit(self, header: str) -> bool:
        """Decide whether a request may name this host.

        Args:
            header: The value of the request's header Host, with or without a port.

        Returns:
            Whether the name is one of ours.
        """
        name = _name(header)
        if self.any_address and _is_address(name):
            return True
        return any(fnmatchcase(name, pattern) for pattern in self.names)


def network_of(address: str) -> str:
    """Name the place that an address belongs to, of which places, sizes and tries are counted.

    Args:
        address: The address of a sender; anything else stands for itself.

    Returns:
        An IPv4 address as it is, also where it is written as IPv6; of an IPv6 address its /64
        network, of which one sender can use any address.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ip_network((int(found), OF_ONE_PLACE), strict=False))


def _name(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
