"""How much memory this process has, as its operating system counts it."""

from __future__ import annotations

import os
import re
import resource
import sys
from pathlib import Path

_STATM = Path("/proc/self/statm")
_STATUS = Path("/proc/self/status")
_PEAK = re.compile(r"^VmHWM:\s+([0-9]+) kB$", re.MULTILINE)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def rss_bytes() -> int:
    """Resident memory now, in bytes; where the system does not tell (it is no Linux), the most there ever was.

    A read of /proc takes some 10 us and never blocks on a disk.
    """
    try:
        return int(_STATM.read_text("ascii").split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return peak_rss_bytes()


def peak_rss_bytes() -> int:
    """The most resident memory that this program ever had, in bytes.

    On Linux from its own address space: `ru_maxrss` goes on from that of the process which started it, however small
    the program is.
    """
    try:
        found = _PEAK.search(_STATUS.read_text("ascii"))
    except OSError:
        found = None
    if found is not None:
        return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
