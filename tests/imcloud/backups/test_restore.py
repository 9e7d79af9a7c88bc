"""A restore takes the place of what is there only when it is whole; afterwards nobody misses what is new."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.core.management import call_command

from apps.accounts.models import Tenant
from apps.messaging import exchange, log
from apps.messaging.methods.pull import pull
from apps.routing import databases
from apps.routing.envelope import Request, first_seq
from apps.routing.models import Failover, ServerSet, Slot, SlotMove
from apps.routing.placement import SLOTS
from apps.routing.protocol.im_pb2 import DownStreamMessages, SyncRequestMsg
from apps.routing.topology import topology
from imcloud.backups import manifest
from imcloud.backups.restoring import at
from imcloud.config import Config
from tests.conftest import ROOT, wait_for
from tests.imcloud.backups.conftest import (
    database_names,
    digests,
    fill,
    leave_all,
    manage,
    refused,
)
from tests.messaging.conftest import entry, users

MADE_ANEW = {"messaging_head", "messaging_epoch"}  # tables in which a restored log differs


@pytest.fixture
def backup(installation: Config, tmp_path: Path) -> Path:
    """A backup of everything."""
    manage("backup", tmp_path / "b")
    leave_all()
    return tmp_path / "b"


@contextmanager
def unchanged(installation: Config) -> Iterator[None]:
    """Nothing happens to the databases."""
    urls = [installation.control_database, databases.url("set1"), databases.url("set2")]
    before = database_names(urls[0]), [digests(url) for url in urls]
    yield
    leave_all()
    assert (database_names(urls[0]), [digests(url) for url in urls]) == before


def head(server_set: str) -> tuple[int, int, int]:
    """epoch, seq, time"""
    found: tuple[int, int, int] = log.of(server_set).read("SELECT epoch, seq, time FROM messaging_head", ())[
        0
    ]
    return found


def gone(backup: Path) -> str:
    (backup / "manifest.json").unlink()
    return "is not a backup: it has no manifest.json"


def garbled(backup: Path) -> str:
    (backup / "manifest.json").write_text('{"form": 1, "databases"')
    return "is not a backup: its manifest.json is damaged"


def of_the_future(backup: Path) -> str:
    change(backup, lambda told: told.update(form=2))
    return "is a backup in form 2; this imcloud reads 1"


def truncated(backup: Path) -> str:
    with open(backup / "set-set2.dump", "r+b") as file:
        file.truncate(1000)
    return "set-set2.dump is damaged: it has 1000 bytes"


def flipped(backup: Path) -> str:
    with open(backup / "set-set2.dump", "r+b") as file:
        file.seek(2000)
        byte = file.read(1)
        file.seek(2000)
        file.write(bytes([byte[0] ^ 1]))
    return "set-set2.dump is damaged: its checksum"


def missing(backup: Path) -> str:
    (backup / "set-set2.dump").unlink()
    return "is not whole: "


def newer(backup: Path) -> str:
    def add(told: dict) -> None:
        for each in told["databases"]:
            each["migrations"].append("messaging.9999_to_come")

    change(backup, add)
    return "made by a newer imcloud, whose migration messaging.9999_to_come"


def of_other_rows(backup: Path) -> str:
    """All is well with the file, but it is not what the manifest says."""

    def add(told: dict) -> None:
        its = next(each for each in told["databases"] if each["name"] == "set2")
        its["rows"]["messaging_message"] += 1

    change(backup, add)
    return "copy of SET set2 is not equal to the original: messaging_message"


def no_dump(backup: Path) -> str:
    """Its checksum is right, and it is no archive."""

    def write(told: dict) -> None:
        its = next(each for each in told["databases"] if each["name"] == "set2")
        (backup / its["file"]).write_bytes(b"x" * 500)
        its |= {"bytes": 500, "sha256": manifest.digest(backup / its["file"])}

    change(backup, write)
    return "pg_restore failed: "


def change(backup: Path, how: Callable[[dict], object]) -> None:
    told = json.loads((backup / "manifest.json").read_text())
    how(told)
    (backup / "manifest.json").write_text(json.dumps(told))


@pytest.mark.parametrize(
    "damage",
    [gone, garbled, of_the_future, truncated, flipped, missing, newer, of_other_rows, no_dump],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_backup_is_refused_and_nothing_changes(
    damage: Callable[[Path], str], installation: Config, backup: Path
) -> None:
    reason = damage(backup)
    with unchanged(installation):
        assert reason in refused("restore", backup, "--set", "set2", "--replace")


def test_what_is_there_is_not_replaced_unasked(installation: Config, backup: Path) -> None:
    with unchanged(installation):
        assert "The database imcloud has 1 tenants. With --replace" in refused("restore", backup)
        said = refused("restore", backup, "--set", "set1")
        assert "The database imcloud_set1 has a log up to seq 450" in said
        into = ("--into", databases.url("set2"))
        assert "imcloud_set2 has a log" in refused("restore", backup, "--set", "set1", *into)


def test_nothing_is_replaced_while_somebody_is_connected(installation: Config, backup: Path) -> None:
    with (
        unchanged(installation),
        psycopg.connect(databases.url("set2"), application_name="imcloud node:MSG_NODE1"),
    ):
        said = refused("restore", backup, "--replace")
        assert "The database imcloud_set2 is in use by imcloud node:MSG_NODE1 (process " in said
        assert "stop imcloud everywhere first" in said


def test_a_set_is_not_restored_while_its_slots_move(installation: Config, backup: Path) -> None:
    one, two = ServerSet.objects.order_by("pk")
    SlotMove.objects.create(cluster=one.cluster, number=0, source=one, destination=two)
    leave_all()
    with unchanged(installation):
        assert "Slots of SET set2 are on their way" in refused(
            "restore", backup, "--set", "set2", "--replace"
        )


def test_choices_that_make_no_sense_are_refused(installation: Config, backup: Path) -> None:
    copy = at(installation.control_database, "copy")
    with unchanged(installation):
        assert "--into takes one database" in refused("restore", backup, "--into", copy)
        assert "--into must be a URL" in refused("restore", backup, "--control", "--into", "copy")
        assert "no SET set7; the SETs in it are: set1, set2" in refused("restore", backup, "--set", "set7")


def test_a_restored_set_goes_on_where_nobody_passes_over_what_is_new(
    installation: Config, backup: Path
) -> None:
    """Others have read, and a device has been shown, more of the log than there is of it now."""
    bob, alice = users("set2", 1)[0], users("set1", 1)[0]
    fill("set2", 100, "lost")
    log.of("set2").append([entry(alice, bob, uid="lost")], within=5.0)
    exchange.freshen("set1")
    _, lost_seq, shown = head("set2")
    ServerSet.objects.filter(name="set2").update(standby="postgresql://imcloud@gone:5432/imcloud_set2")
    its = ServerSet.objects.get(name="set2")
    old = Failover.objects.create(
        server_set=its, source="a", destination="b", epoch=1, planned=False, step=Failover.Step.REJOIN
    )
    leave_all()
    said = manage("restore", backup, "--set", "set2", "--replace")
    assert "These SETs have no standby now" in said
    topology.renew()
    its.refresh_from_db()
    old.refresh_from_db()
    assert (its.epoch, its.standby, old.step) == (2, "", Failover.Step.CANCELLED)

    epoch, seq, time = head("set2")
    assert (epoch, seq) == (2, first_seq(2))
    assert seq > lost_seq
    assert time > shown
    log.of("set2").append([entry(alice, bob, uid="new")], within=5.0)
    wanted = SyncRequestMsg(ispolling=False, isPullSend=True, syncTime=shown, sendBoxSyncTime=shown)
    request = Request(1, bob, "pullMsg", bob, wanted.SerializeToString(), generation=4)
    reply = DownStreamMessages.FromString(pull("set2", request).payload)
    assert [each.msgId for each in reply.list] == ["new"]
    exchange.freshen("set1")
    copies = "SELECT uid FROM messaging_message WHERE uid IN ('lost', 'new') ORDER BY seq"
    assert log.of("set1").read(copies, ()) == [("lost",), ("new",)]
    assert log.of("set2").read(copies, ()) == [("new",)]

    (kept,) = (name for name in database_names(installation.control_database) if "_before_" in name)
    assert f"kept as {kept}" in said
    with psycopg.connect(at(databases.url("set2"), kept)) as before:
        assert before.execute("SELECT seq FROM messaging_head").fetchone() == (lost_seq,)


def test_everything_is_restored_together(installation: Config, backup: Path) -> None:
    urls = [installation.control_database, databases.url("set1"), databases.url("set2")]
    before = [digests(url) for url in urls]
    Tenant.objects.create(id=7, name="seven")
    fill("set1", 100, "lost")
    leave_all()
    manage("restore", backup, "--replace")
    topology.renew()
    after = [digests(url) for url in urls]
    for was, now in zip(before[1:], after[1:], strict=True):
        assert {name for name in was if was[name] != now[name]} == MADE_ANEW
    assert after[0]["accounts_user"] == before[0]["accounts_user"]
    assert list(Tenant.objects.values_list("name", flat=True)) == ["one"]
    assert Tenant.objects.create(name="new").pk > 1_000_000  # whose messages would it be shown otherwise?
    assert list(ServerSet.objects.values_list("epoch", flat=True)) == [2, 2]
    fill("set1", 10, "new")
    fill("set2", 10, "new")


def test_a_restored_control_database_learns_from_sets_that_went_on(
    installation: Config, backup: Path
) -> None:
    """A slot has moved, and a SET has failed over, since the backup."""
    one, two = ServerSet.objects.order_by("pk")
    with psycopg.connect(databases.url("set1")) as first, psycopg.connect(databases.url("set2")) as second:
        first.execute("UPDATE messaging_head SET slots = set_bit(slots, 0, 0), epoch = 3")
        second.execute("UPDATE messaging_head SET slots = set_bit(slots, 0, 1)")
    with unchanged_logs():
        leave_all()
        manage("restore", backup, "--control", "--replace")
    topology.renew()
    assert dict(ServerSet.objects.values_list("name", "epoch")) == {"set1": 3, "set2": 1}
    assert Slot.objects.get(number=0).server_set.name == "set2"
    assert Slot.objects.filter(server_set=one).count() == SLOTS // 2 - 1
    assert Slot.objects.filter(server_set=two).count() == SLOTS // 2 + 1
    fill("set2", 10, "new")


@contextmanager
def unchanged_logs() -> Iterator[None]:
    urls = [databases.url("set1"), databases.url("set2")]
    before = [digests(url) for url in urls]
    yield
    assert [digests(url) for url in urls] == before


def test_a_backup_of_an_older_version_is_brought_up_to_date(installation: Config, tmp_path: Path) -> None:
    old = at(installation.control_database, "old_set2")
    newest = max(path.stem for path in (ROOT / "apps/messaging/migrations").glob("0*.py"))
    back = io.StringIO()
    call_command("sqlmigrate", "messaging", newest, backwards=True, database="set2", stdout=back)
    leave_all()
    with psycopg.connect(old, dbname="postgres", autocommit=True) as admin:
        admin.execute("CREATE DATABASE old_set2 TEMPLATE imcloud_set2")
    with psycopg.connect(old) as older:
        older.execute(back.getvalue().encode())
        older.execute("DELETE FROM django_migrations WHERE app = 'messaging' AND name = %s", (newest,))
    ServerSet.objects.filter(name="set2").update(database=old)
    lacking = set(digests(databases.url("set2"))) - set(digests(old))
    manage("backup", tmp_path / "b", "--set", "set2")
    leave_all()
    # In a process of its own: this one may use Django's connections to the tests' databases only.
    done = process("restore", tmp_path / "b", "--set", "set2", "--replace")
    assert done.returncode == 0, done.stderr
    assert lacking
    assert lacking <= set(digests(old))
    topology.renew()
    assert head("set2")[0] == 2


def process(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A command of manage.py in a process of its own."""
    return subprocess.run(
        [sys.executable, "manage.py", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_restore_that_is_killed_leaves_what_was_there_and_is_not_in_the_way_of_the_next(
    installation: Config, backup: Path
) -> None:
    leave_all()
    names = database_names(installation.control_database)
    before = digests(databases.url("set1"))
    killed = subprocess.Popen(
        [sys.executable, "manage.py", "restore", str(backup), "--replace"],
        cwd=ROOT,
        env=os.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with psycopg.connect(installation.control_database, dbname="postgres", autocommit=True) as admin:
        there = "SELECT FROM pg_database WHERE datname = 'imcloud_set1_restoring'"
        wait_for(lambda: admin.execute(there).fetchall(), 30, "nothing was restored")
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
        busy = "SELECT FROM pg_stat_activity WHERE datname LIKE '%%_restoring'"
        wait_for(lambda: not admin.execute(busy).fetchall(), 30, "its sessions go on")
    assert digests(databases.url("set1")) == before
    assert database_names(installation.control_database) > names
    manage("restore", backup, "--replace")
    left = database_names(installation.control_database)
    assert not [name for name in left if name.endswith("_restoring")]


def test_a_backup_can_be_restored_where_there_is_nothing_and_no_server_runs(
    backup: Path, tmp_path: Path
) -> None:
    """On a new machine, which has the embedded server; a second backup, from there, holds the same."""
    there = {"IMCLOUD_DATA": str(tmp_path / "var")}
    nothing = process("backup", tmp_path / "none", **there)
    assert "There is nothing to back up" in nothing.stderr
    done = process("restore", backup, **there)
    assert done.returncode == 0, done.stderr
    done = process("backup", tmp_path / "second", **there)
    assert done.returncode == 0, done.stderr
    first, second = manifest.read(backup), manifest.read(tmp_path / "second")
    for was, now in zip(first.dumps, second.dumps, strict=True):
        assert (was.name, was.total) == (now.name, now.total - (1 if was.kind == manifest.SET else 0))
        assert now.epoch == (2 if was.kind == manifest.SET else 0)
    assert not (tmp_path / "var" / "postgres" / "postmaster.pid").exists()
