"""Breakers for the usual kinds of dependencies, with numbers for their calls as they usually are."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from holdfast.errors import InvalidInput
from holdfast.resilience.breaker.options import Adaptive, BreakerOptions
from holdfast.resilience.breaker.outcomes import classify_connection, classify_http

PRESETS: Mapping[str, BreakerOptions] = MappingProxyType(
    {
        # Slow and often wrong: one call in ten may fail on a usual day, and a call of half a minute is no news.
        "llm": BreakerOptions(
            failures_in_row=10,
            adaptive=Adaptive(rate_min=0.3, rate_max=0.7),
            slow_s=60.0,
            slow_rate=0.8,
            calls_min=5,
            window_s=60.0,
            open_s=10.0,
            open_max_s=120.0,
            probes=2,
            probe_ttl_s=60.0,
            probing_max_s=120.0,
            ramp_s=20.0,
            classify=classify_http,
        ),
        # Quick and rarely away; what it refuses shows that it is there.
        "database": BreakerOptions(
            failures_in_row=8,
            failure_rate=0.5,
            slow_s=5.0,
            slow_rate=0.8,
            calls_min=5,
            window_s=10.0,
            open_s=1.0,
            open_max_s=15.0,
            probes=1,
            probe_ttl_s=5.0,
            probing_max_s=10.0,
            ramp_s=3.0,
            classify=classify_connection,
        ),
        # What stands in front of the truth: given up soon, asked again soon.
        "redis": BreakerOptions(
            failures_in_row=8,
            failure_rate=0.5,
            slow_s=0.5,
            slow_rate=0.5,
            calls_min=5,
            window_s=5.0,
            open_s=0.5,
            open_max_s=5.0,
            probes=1,
            probe_ttl_s=1.0,
            probing_max_s=5.0,
            ramp_s=1.0,
            classify=classify_connection,
        ),
        "http": BreakerOptions(
            failures_in_row=10,
            failure_rate=0.5,
            slow_s=10.0,
            slow_rate=0.8,
            calls_min=10,
            window_s=30.0,
            open_s=5.0,
            open_max_s=60.0,
            probes=3,
            probe_ttl_s=15.0,
            probing_max_s=30.0,
            ramp_s=10.0,
            classify=classify_http,
        ),
        # Few and long calls: three failures are a sign.
        "agent": BreakerOptions(
            failure_rate=0.5,
            slow_s=300.0,
            slow_rate=1.0,
            calls_min=3,
            window_calls=10,
            open_s=5.0,
            open_max_s=60.0,
            probes=1,
            probe_ttl_s=300.0,
            probing_max_s=300.0,
            ramp_s=5.0,
        ),
    }
)


def preset(name: str, **changes: Any) -> BreakerOptions:
    """The options of a preset ("llm", "database", "redis", "http" or "agent"), some of them changed.

    Raises InvalidInput for another name, an unknown option or a value that means nothing.
    """
    options = PRESETS.get(name)
    if options is None:
        raise InvalidInput(f"breaker preset: expected one of {', '.join(PRESETS)}, saw {name!r}")
    return options.but(**changes)
