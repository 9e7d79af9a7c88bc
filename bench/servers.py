"""`python -m bench.servers`: a gateway in Daphne and one in uvicorn under the same load, in turns.

One JSON line per server and window on stdout, progress on stderr. Both are further gateways of one
installation, and one of them runs at a time; the installation's own gateway has no clients.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from bench import api
from bench.__main__ import Bench, Case, allow_connections, broken, own_server, tell
from bench.stack import MANAGE, READY_SECONDS, ROOT, STOP_SECONDS, Stack, StackFailed, environment, free_port
from bench.window import progress

# docs/access-points.md says what each is for.
UVICORN_OPTIONS = (
    "--loop asyncio --http httptools --ws websockets-sansio --ws-max-size 147456 --ws-ping-interval 0 "
    "--ws-per-message-deflate false --lifespan on --backlog 4096 --timeout-graceful-shutdown 5 "
    "--no-proxy-headers --no-server-header --no-access-log --log-level warning"
)
UVICORN = (
    sys.executable,
    "-m",
    "uvicorn",
    "imcloud.asgi:application",
    "--port",
    "{port}",
    *UVICORN_OPTIONS.split(),
)
SERVERS: Mapping[str, Sequence[str]] = {"daphne": (*MANAGE, "serve"), "uvicorn": UVICORN}
API = "api-private"
CASES = (
    Case("pairs-8", users=100, outstanding=8),
    Case("idle", users=2000, outstanding=0),
    Case(API, users=0, outstanding=api.LOADS[API].connections, api=True),
)
LOOK_SECONDS = 0.1  # between two looks at /readyz


@contextmanager
def gateway(server: Stack, words: Sequence[str]) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """One more gateway of the server, at the first access point: its URL and its process.

    `words` start it, with the port in the place of `{port}`. StackFailed when it is not ready in time.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (server.data / "run.log").open("ab") as output:
        process = subprocess.Popen(
            [word.format(port=port) for word in words],
            cwd=ROOT,
            env=environment(server.data, PORT=str(port), PROCESS="further gateway"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not _ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                tail = server.log.read_text(errors="replace")[-3000:]
                raise StackFailed(f"{words} is not ready (exit {process.poll()}):\n{tail}")
            time.sleep(LOOK_SECONDS)
        yield url, process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(url: str) -> bool:
    with suppress(OSError), urlopen(f"{url}/readyz", timeout=5) as response:
        return bool(json.load(response)["ready"])
    return False


def measure(
    servers: Mapping[str, Sequence[str]], cases: Sequence[Case], turns: int, seconds: float
) -> Iterator[dict[str, Any]]:
    """Lines of the cases, of one server after the other, `turns` times; every second time the other way."""
    with own_server(sets=1, nodes=1) as (app, server):
        for turn in range(turns):
            for name in list(servers)[:: -1 if turn % 2 else 1]:
                progress(f"{name}: turn {turn + 1} of {turns}")
                with gateway(server, servers[name]) as (url, process):
                    bench = Bench(replace(app, url=url), server, seconds, process.pid)
                    for case in cases:
                        yield {"server": name} | asyncio.run(bench.run(case))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.servers", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument(
        "--case", action="append", choices=[case.name for case in CASES], help="only this one"
    )
    parser.add_argument("--turns", type=int, default=2, help="of each server (default 2)")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="measured window of each case (default 10)"
    )
    parser.add_argument("--output", type=Path, help="also append the lines to this file")
    return parser.parse_args()


def main() -> int:
    """Measure; exit status 1 when a message was lost, doubled or out of order."""
    chosen = arguments()
    allow_connections()
    cases = [case for case in CASES if not chosen.case or case.name in chosen.case]
    wrong = 0
    for line in measure(SERVERS, cases, chosen.turns, chosen.seconds):
        tell({"version": version(line["server"])} | line, chosen.output)
        wrong += broken(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
