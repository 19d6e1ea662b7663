"""What a codec costs: durable steps per second on SQLite, each step a transition, plain and sealed by AES-GCM.

50 concurrent runs of ten states, each with one step, on a file of their own, with data of 1 KiB and of 16 KiB that go
through all of them. The facts tell how large the file has become for each step, for sealed journal rows are whole
bodies, and the processor time of a step.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.contestants.process import Measured, Size, measure
from benchmarks.harness import Comparison, Options, compare, options, publish

CONTESTANT = "holdfast_codec"
CODECS = {"sealed by AES-GCM": "aes", "plain": ""}
SIZES = {1024: Size(50, 10, waves=4), 16 * 1024: Size(50, 10, waves=2)}
QUICK = Size(5, 10)


def comparison(data_bytes: int, chosen: Options) -> Comparison:
    """Plain and sealed with data of so many bytes."""
    size = QUICK if chosen.quick else SIZES[data_bytes]
    facts: dict[str, float | str] = {}
    for name, codec in CODECS.items():
        found = _measured(codec, data_bytes, size)
        facts[f"{name}: KiB of file per step"] = round(int(found.setting) / size.all_steps / 1024, 2)
        facts[f"{name}: ms of processor time per step"] = round(1000 * found.cpu_s / size.all_steps, 3)
    return compare(
        f"data of {data_bytes // 1024} KiB",
        {name: _steps_per_s(codec, data_bytes, size) for name, codec in CODECS.items()},
        ours="sealed by AES-GCM",
        unit="steps/s",
        better="more",
        rounds=chosen.rounds,
        facts=facts,
    )


def _measured(codec: str, data_bytes: int, size: Size) -> Measured:
    return measure(CONTESTANT, size, {"BENCH_CODEC": codec, "BENCH_BYTES": str(data_bytes)})


def _steps_per_s(codec: str, data_bytes: int, size: Size) -> Callable[[], float]:
    return lambda: size.all_steps / _measured(codec, data_bytes, size).seconds


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__ or "", rounds=5)
    asked = [data_bytes for data_bytes in SIZES if chosen.only in f"data of {data_bytes // 1024} KiB"]
    publish("codec", [comparison(data_bytes, chosen) for data_bytes in asked], chosen)


if __name__ == "__main__":
    main()
