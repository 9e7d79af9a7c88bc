"""Children of a site die together, with all that they have started, and come back when they are told to."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from imcloud.launcher import POLL, Child, Launcher

GRANDCHILD = """
import os, pathlib, subprocess, sys, time
its = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(str(its.pid))
time.sleep(600)
"""


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    keep_open = os.open(tmp_path, os.O_RDONLY)
    made = Launcher(tmp_path / "log", lambda name: None, keep_open)
    yield made
    made.end()
    os.close(keep_open)


def until(launcher: Launcher, condition: Callable[[], object]) -> None:
    """Tend the children until it is so."""
    give_up_at = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up_at
        launcher.tend()
        time.sleep(POLL)


def start(launcher: Launcher, name: str, site: str, told: Path) -> None:
    launcher.start(Child(name, [sys.executable, "-c", GRANDCHILD, str(told)], site))
    until(launcher, lambda: told.exists() and told.read_text())


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_stopped_site_stays_dead_with_all_its_descendants_and_leaves_the_others_alone(
    launcher: Launcher, tmp_path: Path
) -> None:
    for name, site in (("one", "a"), ("two", "a"), ("three", "b"), ("four", "")):
        start(launcher, name, site, tmp_path / name)
    before = launcher.pids()
    of_site = [before["one"], before["two"], *(int((tmp_path / name).read_text()) for name in ("one", "two"))]
    launcher.stop("a")
    assert all(map(gone, of_site))
    assert launcher.pids() == {name: before[name] for name in ("three", "four")}
    for _ in range(10):
        launcher.tend()
        time.sleep(POLL)
    assert launcher.pids() == {name: before[name] for name in ("three", "four")}
    (tmp_path / "one").unlink()
    launcher.resume("a")
    until(launcher, lambda: (tmp_path / "one").exists() and (tmp_path / "one").read_text())
    after = launcher.pids()
    assert after.keys() == before.keys() and not gone(after["one"])
    assert after["one"] != before["one"] and after["three"] == before["three"]


def test_a_site_can_be_stopped_while_one_of_it_waits_to_be_started_again(
    launcher: Launcher, tmp_path: Path
) -> None:
    start(launcher, "one", "a", tmp_path / "one")
    os.kill(launcher.pids()["one"], 9)
    until(launcher, lambda: launcher.children[0].restart_at is not None)
    launcher.stop("a")
    time.sleep(0.5)
    launcher.tend()
    assert launcher.pids() == {} and launcher.children[0].process is not None
    assert launcher.children[0].process.poll() == -9
