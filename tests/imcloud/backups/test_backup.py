"""A backup, restored elsewhere, is what was there at its moment, while everybody goes on."""

import fcntl
import json
import os
import threading
import time
from pathlib import Path

import psycopg
import pytest
from django.core.management import CommandError

from apps.messaging import exchange, log
from apps.routing import databases
from apps.routing.models import Cluster, Failover, ServerSet, SlotMove
from imcloud.backups import BackupError, programs
from imcloud.backups.restoring import at
from imcloud.config import Config
from tests.conftest import wait_for
from tests.imcloud.backups.conftest import digests, fill, leave, manage, refused
from tests.messaging.conftest import away


def test_a_restored_copy_equals_the_original_in_every_table(installation: Config, tmp_path: Path) -> None:
    said = manage("backup", tmp_path / "b")
    assert "A restore of it loses what came after that" in said
    control = installation.control_database
    originals = {"control": control, "set1": databases.url("set1"), "set2": databases.url("set2")}
    for name, url in originals.items():
        which = ["--control"] if name == "control" else ["--set", name]
        manage("restore", tmp_path / "b", *which, "--into", at(control, f"copy_{name}"))
        original = digests(url)
        assert digests(at(control, f"copy_{name}")) == original
        assert sum(rows for rows, _ in original.values()) > 400


def test_the_manifest_tells_programs_what_there_is(installation: Config, tmp_path: Path) -> None:
    manage("backup", tmp_path / "b")
    told = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert {each["name"] for each in told["databases"]} == {"control", "set1", "set2"}
    one = next(each for each in told["databases"] if each["name"] == "set1")
    assert (one["epoch"], one["seq"]) == log.of("set1").read("SELECT epoch, seq FROM messaging_head", ())[0]
    assert one["rows"]["messaging_message"] == one["seq"]
    assert one["bytes"] == (tmp_path / "b" / one["file"]).stat().st_size
    assert "messaging.0001_initial" in one["migrations"]
    assert (tmp_path / "b").stat().st_mode & 0o077 == 0


def test_all_logs_are_of_one_moment_while_messages_are_appended_and_exchanged(
    installation: Config, tmp_path: Path
) -> None:
    ended = threading.Event()

    def go_on() -> None:
        number = 0
        while not ended.is_set():
            for name in ("set1", "set2"):
                fill(name, 20, f"more-{number}")
                exchange.freshen(name)
            number += 1
        leave()

    writers = [threading.Thread(target=go_on) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        before = log.of("set1").read("SELECT seq FROM messaging_head", ())[0][0]
        wait_for(lambda: log.of("set1").read("SELECT seq FROM messaging_head", ())[0][0] > before, 10, "")
        manage("backup", tmp_path / "b")
    finally:
        ended.set()
        for writer in writers:
            writer.join()
    heads = {}
    read_upto = {}
    for name in ("set1", "set2"):
        copy = at(installation.control_database, f"copy_{name}")
        manage("restore", tmp_path / "b", "--set", name, "--into", copy)
        digest = "SELECT count(*), sum(hashtextextended(t::text, 0)) FROM messaging_message t WHERE seq <= %s"
        with psycopg.connect(copy) as restored, psycopg.connect(databases.url(name)) as original:
            ((heads[name],),) = restored.execute("SELECT seq FROM messaging_head").fetchall()
            ((last,),) = original.execute("SELECT seq FROM messaging_head").fetchall()
            assert restored.execute("SELECT max(seq) FROM messaging_message").fetchone() == (heads[name],)
            its = restored.execute(digest, (heads[name],)).fetchone()
            assert its == original.execute(digest, (heads[name],)).fetchone()
            assert its and its[0] == heads[name] < last
            cursor = "SELECT seq FROM messaging_exchangecursor"
            ((read_upto[name],),) = restored.execute(cursor).fetchall()
    assert read_upto["set1"] <= heads["set2"]
    assert read_upto["set2"] <= heads["set1"]


def test_a_folder_that_exists_is_not_written_to(installation: Config, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    assert "exists already" in refused("backup", tmp_path / "b")
    assert "There is no folder" in refused("backup", tmp_path / "nowhere" / "b")
    assert "no SET set7; the SETs are: set1, set2" in refused("backup", tmp_path / "c", "--set", "set7")
    assert list(tmp_path.rglob("*")) == [tmp_path / "b"]


def test_of_two_backups_into_one_folder_the_second_is_refused_and_leftovers_are_not_in_its_way(
    installation: Config, tmp_path: Path
) -> None:
    part = tmp_path / "b.part"
    part.mkdir()
    (part / "set-set1.dump").write_bytes(b"of one that was cut off")
    other = os.open(part, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    assert "running already" in refused("backup", tmp_path / "b")
    os.close(other)
    manage("backup", tmp_path / "b", "--set", "set1")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["b", "manifest.json", "set-set1.dump"]


def test_slots_on_their_way_and_a_failover_keep_a_backup_from_being_taken(
    installation: Config, tmp_path: Path
) -> None:
    one, two = ServerSet.objects.order_by("pk")
    move = SlotMove.objects.create(cluster=Cluster.objects.get(), number=0, source=one, destination=two)
    assert "1 slots are on their way" in refused("backup", tmp_path / "b")
    SlotMove.objects.filter(pk=move.pk).update(step=SlotMove.Step.DONE)
    failover = Failover.objects.create(server_set=one, source="a", destination="b", epoch=2, planned=True)
    assert "failing over" in refused("backup", tmp_path / "b")
    assert list(tmp_path.iterdir()) == []
    Failover.objects.filter(pk=failover.pk).update(step=Failover.Step.REJOIN)  # it may wait for weeks
    manage("backup", tmp_path / "b")


def test_a_dump_that_is_cut_off_leaves_nothing(installation: Config, tmp_path: Path) -> None:
    said: list[str] = []

    def back_up() -> None:
        try:
            manage("backup", tmp_path / "b")
        except CommandError as error:
            said.append(str(error))
        leave()

    url = databases.url("set1")
    with psycopg.connect(url) as blocker, psycopg.connect(url, autocommit=True) as admin:
        blocker.execute("LOCK messaging_group")  # the dump of this SET waits for it
        running = threading.Thread(target=back_up)
        running.start()
        kill = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE application_name = 'pg_dump' AND wait_event_type = 'Lock'"""
        wait_for(lambda: admin.execute(kill).fetchall(), 20, "no dump waits")
    running.join(20)
    assert said
    assert "pg_dump failed" in said[0]
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_away_is_named(installation: Config, tmp_path: Path) -> None:
    with away("set2"):
        assert "The database imcloud_set2 cannot be opened" in refused("backup", tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_programs_older_than_the_server_are_refused_with_what_to_install() -> None:
    with pytest.raises(BackupError, match=r"is PostgreSQL 99.*version 18.*postgresql-client-99"):
        programs.find("pg_dump", 99)
    assert programs.version(programs.find("pg_restore", 18)) >= 18


def test_progress_is_told_in_lines_where_there_is_no_terminal(installation: Config, tmp_path: Path) -> None:
    with psycopg.connect(databases.url("set1")) as blocker:
        blocker.execute("LOCK messaging_group")
        said: list[str] = []

        def back_up() -> None:
            said.append(manage("backup", tmp_path / "b"))
            leave()

        running = threading.Thread(target=back_up)
        running.start()
        time.sleep(1.5)  # longer than LINE_EVERY
    running.join(20)
    assert any("rows; " in line and "set1: begins" in line for line in said[0].splitlines()), said
