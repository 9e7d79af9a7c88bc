"""Databases of several hosts, and ones that are away: what that costs whoever asks."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.db.utils import ConnectionHandler

from apps.routing.lease import Lease
from imcloud import settings
from imcloud.config import ConfigError, read
from tests.conftest import wait_for
from tests.processes import TcpPostgres

SEVERAL = "postgresql://u:p%40@db1:5432,[::1]:5433,db3/im?target_session_attrs=read-write"


def test_all_hosts_of_a_url_are_told_to_django() -> None:
    described = settings.database(SEVERAL)
    assert (described["HOST"], described["PORT"], described["NAME"]) == ("db1,::1,db3", "5432,5433,", "im")
    assert (described["USER"], described["PASSWORD"]) == ("u", "p@")
    assert described["OPTIONS"]["target_session_attrs"] == "read-write"


def test_the_sets_of_a_control_database_of_several_hosts_are_beside_it() -> None:
    config = read({"IMCLOUD_DATABASE_URL": SEVERAL})
    assert config.control_database == SEVERAL
    assert config.set_databases == SEVERAL.replace("/im?", "/im_{set}?")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://db1,db2/im", "must end with .target_session_attrs=read-write"),
        ("postgresql:///im?host=/a,/b", "must end with .target_session_attrs=read-write"),
        (
            "postgresql://db1:5432,db2:x/im?target_session_attrs=read-write",
            "must have a port from 1 to 65535",
        ),
        ("postgresql://db1:99999/im", "must have a port from 1 to 65535"),
    ],
)
def test_hosts_that_lead_to_the_wrong_server_are_refused(url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"^IMCLOUD_DATABASE_URL {reason}"):
        read({"IMCLOUD_DATABASE_URL": url})


@pytest.fixture(scope="module")
def of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcpPostgres]:
    own = TcpPostgres(tmp_path_factory.mktemp("p") / "p")
    own.initialise()
    own.start()
    yield own
    own.stop()


@pytest.fixture
def server(of_module: TcpPostgres) -> TcpPostgres:
    """It runs, also when the test before has killed it and failed."""
    if not of_module.runs:
        of_module.start()
    return of_module


@pytest.fixture
def connection(server: TcpPostgres, django_db_blocker: Any) -> Iterator[Any]:
    """Django's to the server, in a process that has not been there yet."""
    described = settings.database(server.url("postgres"))
    handler = ConnectionHandler({"default": described, "own": described})
    made: Any = handler["own"]
    with django_db_blocker.unblock():
        yield made
        made.close()
        made.close_pool()


def asked(connection: Any) -> float:
    """s until a query is answered, or refused."""
    began = time.monotonic()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.close()
    except OperationalError:
        return -(time.monotonic() - began)
    return time.monotonic() - began


def test_a_server_that_is_away_holds_nobody_up_and_is_found_when_it_is_back(
    server: TcpPostgres, connection: Any
) -> None:
    assert asked(connection) > 0
    server.kill()
    waits = [asked(connection) for _ in range(20)]
    assert all(wait < 0 for wait in waits)
    # The pool was asked once; by everybody, that would be 20 s.
    assert -sum(waits) < 15
    with pytest.raises(OperationalError, match="refused"), connection.cursor():
        pass
    server.start()
    wait_for(lambda: asked(connection) > 0, 10, "it is not found again")


def test_who_held_a_lease_keeps_it_while_nobody_can_ask_for_it(
    server: TcpPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = connections.configure_settings({"default": settings.database(server.url("postgres"))})
    monkeypatch.setitem(connections.settings, "default", described["default"])
    first, second = Lease("one"), Lease("one")
    first.start()
    wait_for(lambda: first.held, 10, "not taken")
    second.start()
    wait_for(lambda: second.taken, 10, "not seen to be taken")
    server.kill()
    wait_for(lambda: first.kept and not first.held, 10, "not kept")
    assert not second.kept
    server.start()
    wait_for(lambda: first.held != second.held, 10, "nobody took it again")
    wait_for(lambda: first.kept != second.kept, 10, "both keep it")
    for each in (first, second):
        each.stop()
