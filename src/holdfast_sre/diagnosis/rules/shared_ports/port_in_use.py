"""What programs say that find their port taken."""

from __future__ import annotations

import re

IN_USE = re.compile(
    r"port (?:([0-9]{1,5}) )?(?:is|was) already in use|address already in use|EADDRINUSE|bind: address", re.IGNORECASE
)
