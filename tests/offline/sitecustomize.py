"""Closes the network for a process: Python runs this at its start where this folder is on PYTHONPATH."""

import socket
from typing import Any, NoReturn


class NetworkUsed(BaseException):
    """Not an Exception, so that no library can take it for a mere failure and go on."""


def _refuse(what: Any) -> NoReturn:
    raise NetworkUsed(f"a test reached for the network: {what!r}")


def _connecting(connect: Any) -> Any:
    def connect_inside(self: socket.socket, address: Any) -> Any:
        return connect(self, address) if self.family == socket.AF_UNIX else _refuse(address)

    return connect_inside


socket.socket.connect = _connecting(socket.socket.connect)  # type: ignore[method-assign]
socket.socket.connect_ex = _connecting(socket.socket.connect_ex)  # type: ignore[method-assign]
socket.getaddrinfo = lambda host, *rest, **options: _refuse(host)
