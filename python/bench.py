"""Measures `baseten_auth.get_token()`: from memory, and beside the program that it asks.

    bench.py PROGRAM [ROUNDS]

PROGRAM is a release build of `baseten`. The two ways are measured in turns, so that a machine that
gets slower meanwhile does so for both. The credential is an API key in the environment: nothing is
sent, and what is left is the price of asking. Fails where a goal is missed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).parent / "src"))
import baseten_auth

MICROSECONDS = 5.0
RATIO = 1.5


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def uncached() -> None:
    baseten_auth.clear_cache()
    baseten_auth.get_token()


def main(program: str, rounds: int) -> int:
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "baseten").symlink_to(Path(program).resolve())
        os.environ.clear()
        os.environ.update(HOME=home, PATH=home, BASETEN_API_KEY="a-key")
        command = ["baseten", "auth", "token", "--output", "json"]

        def run() -> None:
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)

        asked, ran = [], []
        for _ in range(rounds):
            asked.append(seconds(uncached))
            ran.append(seconds(run))
        kept = min(timeit.repeat(baseten_auth.get_token, number=10_000, repeat=20)) / 10_000 * 1e6
    milliseconds = statistics.median(asked) * 1e3, statistics.median(ran) * 1e3
    ratio = milliseconds[0] / milliseconds[1]
    print(f"get_token() from memory: {kept:.2f} µs (goal: under {MICROSECONDS:g} µs)")
    print(
        f"get_token() that asks: {milliseconds[0]:.2f} ms; the program alone, started by Python: "
        f"{milliseconds[1]:.2f} ms; ratio {ratio:.2f} (goal: at most {RATIO:g})"
    )
    return int(kept >= MICROSECONDS or ratio > RATIO)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 200))
