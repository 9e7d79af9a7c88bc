"""`manage.py slots`: on a terminal and in a script, to the end and interrupted."""

import io
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator

import pytest
import redis
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command

from apps.accounts import command_line
from apps.messaging.log import Log
from apps.routing.models import Cluster, ServerSet, Slot, SlotMove
from tests.conftest import ROOT, wait_for


@pytest.fixture(autouse=True)
def two_sets(sets: dict[str, Log], redis_client: redis.Redis) -> Iterator[None]:
    """set1 has the even slots, set2 the odd ones."""
    yield


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("slots", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def on_terminal(*arguments: str) -> tuple[subprocess.Popen[bytes], list[bytes]]:
    """The command in a process of its own with a terminal for its errors, and what that shows."""
    terminal, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    command = [sys.executable, "manage.py", "slots", *arguments]
    ours = signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell has what runs in its background ignore it
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=theirs)
    signal.signal(signal.SIGINT, ours)
    os.close(theirs)
    shown: list[bytes] = []

    def read() -> None:
        with os.fdopen(terminal, "rb", buffering=0) as screen:
            try:
                while part := screen.read(1 << 16):
                    shown.append(part)
            except OSError:  # how Linux says that the other end is closed
                pass

    threading.Thread(target=read, daemon=True).start()
    return process, shown


def owners(*numbers: int) -> list[str]:
    rows = Slot.objects.filter(number__in=numbers).order_by("number")
    return list(rows.values_list("server_set__name", flat=True))


def test_the_list_shows_sets_with_weights_and_slots_and_what_moves() -> None:
    Slot.objects.filter(number__lt=900).update(server_set=ServerSet.objects.get(name="set1"))
    run("move", "0-9, 20", "set2", "--detach")
    lines = run("list").splitlines()
    assert lines[1].split()[:5] == ["set1", "main", "1", "962", "0-900,"]
    assert lines[2].split()[:5] == ["set2", "main", "1", "62", "901,"]
    assert lines[3] == "moving: set1 to set2, 11 slots: 0-9, 20"


def test_a_dry_run_says_what_would_move_and_moves_nothing() -> None:
    assert run("move", "0-3", "set2", "--dry-run").splitlines() == [
        "set1 to set2, 2 slots: 0, 2", "nothing was moved: this was a dry run"
    ]  # fmt: skip
    assert "set1 to set2, " in run("rebalance", "--dry-run")
    assert not SlotMove.objects.exists()


def test_moves_are_left_to_the_nodes_and_taken_back() -> None:
    assert "the nodes move them" in run("move", "0-6", "set2", "--detach")
    assert owners(0, 2, 4, 6) == ["set1"] * 4
    assert {move.asked_by for move in SlotMove.objects.all()} == {command_line.who()}
    assert run("cancel", "0-3") == "taken back: 0, 2\n"
    assert run("cancel") == "taken back: 4, 6\n"
    assert run("cancel") == "taken back: none, no such move is still copying\n"
    run("move", "0-6", "set2", "--dry-run")
    entries = LogEntry.objects.order_by("pk").values_list("user__username", "object_repr", "change_message")
    assert list(entries) == [
        (command_line.who(), "main", "Slots to move: set1 to set2, 4 slots: 0, 2, 4, 6."),
        (command_line.who(), "main", "Took back the moves of slots 0, 2."),
        (command_line.who(), "main", "Took back the moves of slots 4, 6."),
    ]


def test_moves_are_worked_off_with_a_line_now_and_then() -> None:
    out = run("move", "0-3", "set2")
    assert owners(0, 1, 2, 3) == ["set2"] * 4
    assert {move.step for move in SlotMove.objects.all()} == {"done"}
    assert "2 of 2 slots; " in out and out.endswith("2 of 2 moved\n")
    assert run("move", "0-3", "set2") == "no slot has to move\n"


def test_ctrl_c_leaves_the_rest_to_others_and_resume_goes_on() -> None:
    process, shown = on_terminal("move", "0-1023", "set2")
    wait_for(lambda: SlotMove.objects.filter(step="clean").exists(), 60, "no slot was moved")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    wait_for(lambda: b"the nodes move the rest" in b"".join(shown), 10, "nothing was said of the rest")
    assert b"/512" in b"".join(shown)
    left = SlotMove.objects.exclude(step__in=("done", "cancelled")).count()
    assert 0 < left <= 512
    run("cancel")
    run("resume")
    assert set(SlotMove.objects.values_list("step", flat=True)) == {"done", "cancelled"}
    moved = SlotMove.objects.filter(step="done").values_list("number", flat=True)
    assert set(owners(*moved)) == {"set2"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("move", "0-3", "set7"), "There is no SET set7; the SETs are: set1, set2."),
        (("move", "0-1024", "set2"), "0-1024 is no range of the slots 0 to 1023."),
        (("move", "all", "set2"), "Slots are written as 7, 0-99 or 0-99,700; 'all' is none of these."),
        (("rebalance", "--cluster", "other"), "There is no cluster other; the clusters are: main."),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence.replace("(", r"\(")):
        run(*arguments)


def test_with_several_clusters_one_has_to_be_named() -> None:
    Cluster.objects.create(name="second")
    with pytest.raises(
        CommandError, match="Say which cluster with --cluster; the clusters are: main, second"
    ):
        run("rebalance")
