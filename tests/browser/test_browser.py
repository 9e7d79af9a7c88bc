"""The published SDKs and the demo page in a real browser: a scenario of *_scenarios.mjs is a test here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import WholeStack

HERE = Path(__file__).resolve().parent
MANAGE = [sys.executable, str(HERE.parents[1] / "manage.py")]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
Run = Callable[..., None]


def scenarios(file: str) -> list[str]:
    return re.findall(r"^export async function (\w+)", (HERE / file).read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def run(stack: WholeStack) -> Iterator[Run]:
    """Runs a scenario in the one Chromium of this module and fails with what went wrong in it."""
    config = {
        "url": stack.url,
        "app_key": stack.app_key,
        "app_secret": stack.app_secret,
        "data": str(stack.data),
        "manage": MANAGE,
        "chromium": CHROMIUM,
    }
    runner = subprocess.Popen(
        ["node", str(HERE / "runner.mjs"), json.dumps(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"IMCLOUD_DATA": str(stack.data)},  # for manage.py
    )
    assert runner.stdin is not None and runner.stdout is not None
    orders, results = runner.stdin, runner.stdout

    def run(scenario: str, sdk: str | None = None) -> None:
        print(json.dumps({"scenario": scenario, "sdk": sdk}), file=orders, flush=True)
        line = results.readline()
        assert line, "the runner has ended; its stderr says why"
        result = json.loads(line)
        assert result["error"] is None, "\n".join([result["error"], "on the pages:", *result["log"]])

    yield run
    orders.close()
    try:
        runner.wait(10)
    except subprocess.TimeoutExpired:
        runner.kill()


@pytest.mark.browser
@pytest.mark.parametrize("sdk", ["v4", "v5"])
@pytest.mark.parametrize("scenario", scenarios("sdk_scenarios.mjs"))
def test_sdk(run: Run, sdk: str, scenario: str) -> None:
    run(scenario, sdk)


@pytest.mark.browser
@pytest.mark.parametrize("scenario", scenarios("demo_scenarios.mjs"))
def test_demo(run: Run, scenario: str) -> None:
    run(scenario)


@pytest.mark.browser
def test_the_wire_module_reads_and_writes_frames() -> None:
    done = subprocess.run(
        ["node", "--test", str(HERE / "wire.test.mjs")], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stdout + done.stderr
