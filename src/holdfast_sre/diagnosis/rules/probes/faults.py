"""What is wrong with a probe that fails, as it is written."""

from __future__ import annotations

from typing import Any, Literal

from holdfast_sre.diagnosis.rules.probes.failing import Failing
from holdfast_sre.evidence.snapshot import Manifest, dig

Fault = Literal["port", "protocol", "timing"]
HANDLERS = ("grpc", "httpGet", "tcpSocket", "exec")
_WRONG_PROTOCOL = (
    "malformed HTTP",
    "HTTP/1.x transport connection broken",
    "server gave HTTP response to HTTPS client",
)
HASTY_S = 5
"""A liveness probe that may kill within so many seconds of the start gives an ordinary program no time to listen."""
IMPATIENT_S = 10
"""One that kills within so many seconds is suspect where nothing else is wrong with it."""


def fault_of(found: Failing) -> Fault | None:
    """What is wrong with the probe; None where it is sound, so that the container must be at fault."""
    handler, port = port_of(found.container, found.body)
    if handler is None:
        return None
    if handler == "exec":
        return "protocol" if found.text and handler_of(found.other) not in (None, "exec") else None
    if not found.text and port is not None and (not found.opened or port in found.opened):
        return None  # Where no event tells that the probe fails, only what cannot work is blamed.
    if handler == "httpGet" and any(sign in found.text for sign in _WRONG_PROTOCOL):
        return "protocol"
    if port is None or (found.opened and port not in found.opened):
        return "port"
    if handler_of(found.other) not in (None, handler) and found.other and not is_hasty(found.body):
        return "protocol"
    is_impatient = _patience_s(found.body) < IMPATIENT_S
    return "timing" if found.probe == "liveness" and is_impatient else None


def handler_of(probe: Manifest) -> str | None:
    """The name of a probe's handler; None where it has none."""
    return next((name for name in HANDLERS if probe.get(name)), None)


def port_of(container: Manifest, probe: Manifest) -> tuple[str | None, int | None]:
    """The handler and the number of its port; None where a port's name leads nowhere."""
    handler = handler_of(probe)
    port: Any = dig(probe, f"{handler}.port") if handler else None
    if isinstance(port, str) and not port.isdigit():
        named = [entry.get("containerPort") for entry in container.get("ports") or () if entry.get("name") == port]
        port = named[0] if named else None
    return handler, int(port) if port is not None else None


def is_hasty(probe: Manifest) -> bool:
    """Whether the first kill may come sooner than HASTY_S seconds after the start."""
    return _patience_s(probe) < HASTY_S


def _patience_s(probe: Manifest) -> int:
    """Seconds after the start that a probe may fail all the time before it does harm."""
    delay = _seconds(probe, "initialDelaySeconds", 0)
    period, timeout = _seconds(probe, "periodSeconds", 10), _seconds(probe, "timeoutSeconds", 1)
    return delay + period * (_seconds(probe, "failureThreshold", 3) - 1) + timeout


def _seconds(probe: Manifest, key: str, default: int) -> int:
    value = probe.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default
