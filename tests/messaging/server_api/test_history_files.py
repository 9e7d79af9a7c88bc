"""`/message/history…`: an hour's messages as a file, from the logs of two SETs."""

import io
import json
import random
import threading
import urllib.error
import urllib.request
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.utils import timezone

from apps.accounts.directory import TenantEntry
from apps.messaging import exchange, history_files, log, storage
from apps.messaging.log import Entry, Log
from apps.messaging.models import (
    CANARY,
    CHATROOM,
    COUNTED,
    GROUP,
    PRIVATE,
    RECALLED,
    SYSTEM,
    TO_SELF,
    HistoryFile,
)
from apps.routing import topology
from apps.routing.protocol.im_pb2 import UpStreamMessage
from bench.tokens import ApiRefused, App
from tests.conftest import WholeStack
from tests.messaging.conftest import SETS
from tests.messaging.server_api.calls import call, refused
from tests.messaging.server_api.live import post as live_post

HOUR, BEFORE, EMPTY = "2019010110", "2019010109", "2019010101"


@pytest.fixture
def folder(sets: dict[str, Log], tmp_path: Path, settings: Any) -> Path:
    settings.HISTORY_FOLDER = tmp_path / "history"
    return tmp_path / "history"


@pytest.fixture
def store(settings: Any) -> Iterator[dict[str, bytes]]:
    """A store of files that takes whatever it is given: path -> content."""
    objects: dict[str, bytes] = {}

    class Store(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            objects[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self._done()

        def do_DELETE(self) -> None:
            objects.pop(self.path, None)
            self._done()

        def _done(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings.STORAGE_URL = f"http://127.0.0.1:{server.server_port}"
        settings.STORAGE_KIND, settings.STORAGE_KEY, settings.STORAGE_SECRET = "minio", "key", "secret"
        storage._client.cache_clear()
        yield objects
        storage._client.cache_clear()
        server.shutdown()


def at(hour: str, ms: int = 0) -> int:
    return history_files.bounds(hour)[0] + ms


def say(tenant: TenantEntry, when: int, sender: str, target: str, text: str = "hi", **facts: Any) -> str:
    """Store a message as if it had been sent then, with its copies; its uid."""
    content = json.dumps({"content": text}, ensure_ascii=False).encode()
    up = UpStreamMessage(sessionId=3, classname="RC:TxtMsg", content=content).SerializeToString()
    entry = replace(Entry(uuid.uuid4().hex, tenant.id, PRIVATE, sender, target, 3, "ppMsgP", up), **facts)
    log.of(topology.home(tenant.id, target)).append([entry], within=1)
    for server_set in SETS:
        exchange.run(server_set)
        moved = "UPDATE messaging_message SET sent = %s WHERE uid = %s"
        log.of(server_set).run(lambda c: c.execute(moved, (when, entry.uid)), within=1)  # noqa: B023
    return entry.uid


def made(tenant: TenantEntry, hour: str = HOUR) -> list[dict[str, Any]]:
    """The messages of an hour's file."""
    file = history_files.make(tenant, hour, list(SETS))
    return read(history_files.path(file).read_bytes(), hour) if file else []


def read(data: bytes, hour: str) -> list[dict[str, Any]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == [f"{hour}.txt"]
        return [json.loads(line) for line in archive.read(f"{hour}.txt").splitlines()]


def test_a_file_has_every_message_of_the_hour_once_in_order(
    folder: Path, alices: TenantEntry, mallorys: TenantEntry
) -> None:
    names = [f"u{n}" for n in range(100)]  # of which the tenant's id decides who is at home where
    at_home = {one: [name for name in names if topology.home(alices.id, name) == one] for one in SETS}
    users = [name for one in SETS for name in at_home[one][:6]]
    random.seed(7)
    expected = []
    for _ in range(30):
        when = at(HOUR, random.randrange(3_600_000))
        expected.append((when, say(alices, when, *random.sample(users, 2))))
    rows = sum(len(log.of(name).read("SELECT 1 FROM messaging_message", ())) for name in SETS)
    assert rows > 30  # some have copies in the other SET
    say(alices, at(HOUR) - 1, "u1", "u2")
    say(alices, at(HOUR, 3_600_000), "u1", "u2")
    say(mallorys, at(HOUR, 5), "u1", "u2")
    found = made(alices)
    assert [(each["msgTimestamp"], each["msgUID"]) for each in found] == sorted(expected)
    assert [path.suffix for path in folder.rglob("*.*")] == [".zip"]
    assert len(made(mallorys)) == 1


def test_a_line_says_who_said_what_where_and_when(folder: Path, alices: TenantEntry) -> None:
    uid = say(alices, at(HOUR, 61_005), "alice", "the-group", "忘情水\n", kind=GROUP)
    (line,) = made(alices)
    assert line == {
        "appId": alices.app_key,
        "fromUserId": "alice",
        "targetId": "the-group",
        "targetType": 3,
        "GroupId": "the-group",
        "classname": "RC:TxtMsg",
        "content": '{"content": "忘情水\\n"}',
        "dateTime": "2019-01-01 10:01:01.005",
        "msgTimestamp": at(HOUR, 61_005),
        "msgUID": uid,
        "busChannel": "",
    }


def test_what_is_in_no_history_is_in_no_file(folder: Path, alices: TenantEntry) -> None:
    kept = [
        say(alices, at(HOUR, 1), "a", "room", kind=CHATROOM),
        say(alices, at(HOUR, 2), "a", "b", kind=SYSTEM),
    ]
    say(alices, at(HOUR, 3), "a", "b", flags=3 | RECALLED)
    say(alices, at(HOUR, 4), "a", "b", flags=3 | TO_SELF)
    say(alices, at(HOUR, 5), "a", "b", flags=COUNTED)
    say(alices, at(HOUR, 6), "a", "b", kind=CANARY)
    assert [each["msgUID"] for each in made(alices)] == kept


def test_an_hour_in_which_clocks_were_set_back_is_two(settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    lengths = {hour: history_files.bounds(hour) for hour in ("2026102501", "2026102502", "2026102503")}
    assert [end - begin for begin, end in lengths.values()] == [3_600_000, 7_200_000, 3_600_000]
    assert lengths["2026102501"][1] == lengths["2026102502"][0]
    assert lengths["2026102502"][1] == lengths["2026102503"][0]
    skipped = history_files.bounds("2026032902")
    assert skipped[0] == skipped[1]


def test_an_hour_without_messages_has_no_file(folder: Path, alices: TenantEntry) -> None:
    say(alices, at(HOUR), "a", "b")
    assert made(alices, BEFORE) == []
    assert call(alices, "/message/history", date=BEFORE) == {"url": "", "date": BEFORE}
    call(alices, "/message/history/delete", date=BEFORE)
    assert not HistoryFile.objects.exists() and not [*folder.rglob("*.*")]


def test_an_hour_that_is_not_over_has_no_file(folder: Path, alices: TenantEntry) -> None:
    hour = timezone.localtime().strftime("%Y%m%d%H")
    say(alices, log.now(), "a", "b")
    assert call(alices, "/message/history", date=hour)["url"] == ""
    call(alices, "/message/history/delete", date=hour)
    assert not HistoryFile.objects.exists()


def test_the_url_is_the_tenants_secret(
    folder: Path, alices: TenantEntry, mallorys: TenantEntry, client: Any
) -> None:
    say(alices, at(HOUR), "a", "b")
    made(alices)
    answer = call(alices, "/message/history", date=HOUR)
    token, name = answer["url"].removeprefix("http://testserver/history/").split("/")
    assert (answer["date"], name, len(token)) == (HOUR, f"{HOUR}.zip", 43)
    assert call(alices, "/message/history", date=HOUR) == answer
    assert call(mallorys, "/message/history", date=HOUR)["url"] == ""
    assert client.get(f"/history/{'x' * 43}/{HOUR}.zip").status_code == 404
    assert client.get(f"/history/{token}/{BEFORE}.zip").status_code == 404
    response = client.get(f"/history/{token}/{HOUR}.zip")
    assert response["Content-Length"] == str(next(folder.rglob("*.zip")).stat().st_size)
    assert response["Content-Type"] == "application/zip"
    call(mallorys, "/message/history/delete", date=HOUR)
    assert call(alices, "/message/history", date=HOUR) == answer


def test_a_deleted_file_is_gone_for_good(folder: Path, alices: TenantEntry, client: Any) -> None:
    say(alices, at(HOUR), "a", "b")
    made(alices)
    url = call(alices, "/message/history", date=HOUR)["url"]
    for _ in range(2):
        call(alices, "/message/history/delete", date=HOUR)
        assert call(alices, "/message/history", date=HOUR)["url"] == ""
    assert client.get(url.removeprefix("http://testserver")).status_code == 404
    assert not [*folder.rglob("*.*")]
    file = history_files.make(alices, HOUR, list(SETS))
    assert file is not None and file.deleted


def test_a_file_that_is_deleted_while_it_is_made_is_not_kept(
    folder: Path, alices: TenantEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(alices, at(HOUR), "a", "b")
    lines = history_files.lines

    def delete_meanwhile(*arguments: Any) -> Iterator[bytes]:
        yield from lines(*arguments)
        history_files.delete(alices.id, HOUR)

    monkeypatch.setattr(history_files, "lines", delete_meanwhile)
    assert history_files.make(alices, HOUR, list(SETS)) is None
    assert not [*folder.rglob("*.*")]


def test_nothing_is_left_when_a_log_cannot_be_read(folder: Path, alices: TenantEntry) -> None:
    say(alices, at(HOUR), "a", "b")
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError):
            history_files.make(alices, HOUR, ["set1", "set2", "nowhere"])
    assert not HistoryFile.objects.exists() and not [*folder.rglob("*.*")]
    assert len(made(alices)) == 1


def test_old_files_are_removed_and_can_be_made_again(folder: Path, alices: TenantEntry) -> None:
    say(alices, at(HOUR), "a", "b")
    say(alices, at(BEFORE), "a", "b")
    made(alices), made(alices, BEFORE)
    HistoryFile.objects.filter(hour=BEFORE).update(made_at=timezone.now() - timedelta(days=4))
    history_files.delete(alices.id, EMPTY)
    history_files.sweep()
    assert [path.name[:10] for path in folder.rglob("*.zip")] == [HOUR]
    assert sorted(HistoryFile.objects.values_list("hour", "deleted")) == [(EMPTY, True), (HOUR, False)]
    assert len(made(alices, BEFORE)) == 1


def test_with_a_store_the_file_is_in_the_tenants_bucket(
    folder: Path, alices: TenantEntry, settings: Any, store: dict[str, bytes]
) -> None:
    say(alices, at(HOUR), "a", "b")
    file = history_files.make(alices, HOUR, list(SETS))
    assert file is not None
    ((name, data),) = store.items()
    assert name == f"/imcloud-{alices.id}/history/{HOUR}-{file.token}.zip"
    assert len(read(data, HOUR)) == 1 and not [*folder.rglob("*.*")]
    url = call(alices, "/message/history", date=HOUR)["url"]
    assert url.startswith(f"{settings.STORAGE_URL}{name}?") and "Signature" in url
    call(alices, "/message/history/delete", date=HOUR)
    assert not store


@pytest.mark.parametrize("date", ["", "201901011", "201901010101", "2019013010x", "2019023010", "0000000000"])
def test_what_is_no_hour_is_refused(alices: TenantEntry, date: str) -> None:
    for path in ("/message/history", "/message/history/delete"):
        status, code, said = refused(alices, path, date=date)
        assert (status, code) == (400, 1002) and said.startswith("date ")


def test_a_running_stack_makes_the_file_and_serves_it(stack: WholeStack) -> None:
    app = App(stack.url, stack.app_key, stack.app_secret)
    message = {"objectName": "RC:TxtMsg", "content": "{}"}
    sent = live_post(app, "/message/private/publish", fromUserId="hist", toUserId="file", **message)
    # The message is an hour older than it was sent.
    hour = "2019020304"
    for name in SETS:
        with psycopg.connect(stack.describe()["set_database_url"].format(set=name)) as database:
            moved = "UPDATE messaging_message SET sent = %s WHERE uid = %s"
            database.execute(moved, (at(hour), sent["messageUID"]))
    url = ""
    for _ in range(5):  # a machine with much to do takes longer than a call waits
        with suppress(ApiRefused):
            url = url or live_post(app, "/message/history", date=hour)["url"]
    with urllib.request.urlopen(url, timeout=20) as response:
        (line,) = read(response.read(), hour)
    assert (line["msgUID"], line["fromUserId"]) == (sent["messageUID"], "hist")
    assert live_post(app, "/message/history", date="2019020305")["url"] == ""
    live_post(app, "/message/history/delete", date=hour)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(url, timeout=20)
