"""`manage.py run` refuses in one sentence, before it has started anything."""

import functools
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bench.stack import free_port, running
from imcloud import sites
from imcloud.config import Config
from tests.conftest import ROOT, WholeStack, wait_for


def run(data: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("IMCLOUD_")}
    environment |= {"IMCLOUD_DATA": str(data), "IMCLOUD_PORT": str(free_port(2))}
    environment |= {f"IMCLOUD_{name}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "manage.py", "run"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_busy_port_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = run(tmp_path, PORT=port)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.splitlines() == [
        f"CommandError: Cannot listen on 127.0.0.1 port {port}: Address already in use. "
        "Set IMCLOUD_PORT to a free port."
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"secret_key"}


def test_gateways_beyond_the_last_port_are_refused(tmp_path: Path) -> None:
    refused = run(tmp_path, PORT="65535", GATEWAYS="3")
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        "CommandError: IMCLOUD_PORT 65535 leaves no room for 3 gateways: 65535 is the last port."
    ]


def test_a_data_folder_of_two_sites_is_not_started_as_one_nor_the_other_way_round(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    (one / "postgres").mkdir(parents=True)
    sites.have(two)
    refused = run(two)
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        f"CommandError: {two} holds two sites: start it with SITES=2 (IMCLOUD_SITES=2), or set IMCLOUD_DATA "
        "to another folder."
    ]
    refused = run(one, SITES="2")
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        f"CommandError: {one} holds one site: start it without SITES=2 (IMCLOUD_SITES=1), or set "
        "IMCLOUD_DATA to another folder, in which two are made."
    ]
    assert {path.name for path in one.iterdir()} == {"postgres", "secret_key"}


def test_a_port_of_two_sites_that_is_taken_is_named(tmp_path: Path) -> None:
    sites.have(tmp_path)
    made = sites.of(tmp_path)
    assert made is not None
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", made.ports["redis-b"]))
        taken.listen()
        refused = run(tmp_path, SITES="2")
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        f"CommandError: redis-b cannot listen on port {made.ports['redis-b']}, which is its own since the "
        "first start: Address already in use. End what listens there."
    ]


@pytest.mark.parametrize("name", ["PROT", "DATABSE_URL"])
def test_an_unknown_setting_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    refused = run(tmp_path, **{name: "1"})
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"imcloud: IMCLOUD_{name} is not a setting; did you mean IMCLOUD_")
    assert len(refused.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_ones_own_that_does_not_exist_is_named(servers: Config, tmp_path: Path) -> None:
    absent = servers.control_database.replace("/imcloud?", "/absent?")
    refused = run(tmp_path, DATABASE_URL=absent, REDIS_URL=servers.redis)
    assert refused.returncode == 1
    assert refused.stderr.startswith("CommandError: Cannot open the database absent: ")
    assert 'database "absent" does not exist' in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_second_run_on_the_same_data_is_refused(stack: WholeStack) -> None:
    before = stack.pids()
    refused = run(stack.data)
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        f"CommandError: imcloud already runs on {stack.data} (process {stack.process.pid})."
    ]
    assert stack.pids() == before


def ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.faults
def test_nothing_outlives_a_launcher_that_is_killed_and_the_next_one_finds_everything(tmp_path: Path) -> None:
    with running(tmp_path) as first:
        before = first.describe()
        first.process.kill()
        first.process.wait()
        for name, pid in before["pids"].items():
            wait_for(functools.partial(ended, pid), 20, f"{name} outlived the launcher")
    with running(tmp_path) as second:
        after = second.describe()
    same = ("app_key", "app_secret", "admin", "redis_url", "database_url")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
