"""Addresses to listen on: HOST:PORT or unix:/path."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Self

UNIX = "unix:"
# The kernel's sockaddr_un holds 108 bytes of a path, its closing zero byte among them.
_LONGEST_PATH_BYTES = 107


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address, or the path of a unix domain socket.

    Attributes:
        host: name or number; an IPv6 number without brackets; empty for a socket file.
        port: 0 takes a free one.
        path: of the socket file; empty for TCP.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads an address.

        Raises:
            ValueError: neither HOST:PORT nor unix:/path; one line.
        """
        if text.startswith(UNIX):
            path = text.removeprefix(UNIX)
            if not path.startswith("/") or path.endswith("/") or "\0" in path:
                raise ValueError("has to be unix:/path, the path from the root on")
            if len(path.encode()) > _LONGEST_PATH_BYTES:
                raise ValueError(f"the path of a socket takes up to {_LONGEST_PATH_BYTES} bytes")
            return cls(path=path)
        host, separator, port = text.rpartition(":")
        if not separator or not host or not port.isascii() or not port.isdigit():
            raise ValueError("has to be HOST:PORT, e.g. 127.0.0.1:50051 (port 0 takes a free one)")
        if int(port) > 65535:
            raise ValueError("has to be HOST:PORT, the port up to 65535")
        if ":" in host or "[" in host:
            host = _ipv6(host)
        return cls(host, int(port))

    @property
    def leaves_the_machine(self) -> bool:
        """Returns whether processes of other machines can reach it.

        A name other than localhost may stand for any address, and counts as reachable.
        """
        if self.path or self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True

    def __str__(self) -> str:
        if self.path:
            return f"{UNIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _ipv6(host: str) -> str:
    """Returns an IPv6 number without its brackets.

    Raises:
        ValueError: it is none; one line.
    """
    number = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        ipaddress.IPv6Address(number)
    except ValueError:
        raise ValueError(
            "has to be HOST:PORT, an IPv6 address in brackets, e.g. [::1]:50051"
        ) from None
    return number


def past_proxies(target: str) -> tuple[tuple[str, int], ...]:
    """Returns the gRPC channel options of a target that no HTTP proxy can reach.

    gRPC goes by the proxy of ``http_proxy`` to any host that ``no_proxy`` does not name. On another
    machine, the address of this one would be that machine itself.

    Args:
        target: HOST:PORT, unix:/path, or one of gRPC's other forms, such as dns:///HOST:PORT.
    """
    return () if target_leaves_the_machine(target) else (("grpc.enable_http_proxy", 0),)


def target_leaves_the_machine(target: str) -> bool:
    """Returns whether a target of gRPC is on another machine; one that is not understood may be."""
    if target.startswith((UNIX, "unix-abstract:")):
        return False
    # In gRPC's other forms (dns:///name:port), the last part names the machine.
    name = target.rpartition("/")[2]
    for scheme in ("dns:", "ipv4:", "ipv6:"):
        name = name.removeprefix(scheme)
    try:
        return Address.parse(name if ":" in name else f"{name}:443").leaves_the_machine
    except ValueError:
        return True
