"""What tests share: a data folder of their own, embedded servers, a whole running stack."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# Before anything imports the settings: nothing of the caller's imcloud, everything in a folder of our own.
for name in [name for name in os.environ if name.startswith("IMCLOUD_")]:
    del os.environ[name]
DATA = Path(tempfile.mkdtemp(prefix="imcloud-tests-"))
os.environ |= {
    "IMCLOUD_DATA": str(DATA),
    "IMCLOUD_PROCESS": "tests",
    "DJANGO_SETTINGS_MODULE": "imcloud.settings",
}

import django
import redis
from xdist.scheduler import LoadFileScheduling

from bench.stack import Stack, running
from bench.stack import servers as embedded_servers
from imcloud.config import Config, read

if TYPE_CHECKING:
    from tests.browser.object_store import ObjectStore

ROOT = Path(__file__).resolve().parent.parent
BROWSER = ROOT / "tests" / "browser"
SETS = ["set1", "set2"]
DATABASES = ["default", *SETS]


def pytest_configure() -> None:
    django.setup()

    from django.conf import settings

    from apps.routing import databases

    for name in SETS:
        databases.register(name, settings.SET_DATABASE_URL.format(set=name))


def pytest_xdist_setupnodes() -> None:
    # Or pytest-django reads the settings in every test process before this file has given it a folder.
    del os.environ["DJANGO_SETTINGS_MODULE"]


OWN_STACKS = ("faults", "imcloud")  # folders


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Those that start stacks of their own first: they have the machine before there is one for all others.
    items.sort(
        key=lambda item: (
            "stack" in getattr(item, "fixturenames", ()) or item.path.parent.name not in OWN_STACKS
        )
    )
    for item in items:
        if "databases" in getattr(item, "fixturenames", ()):
            everything = {"transaction": True, "databases": DATABASES, "serialized_rollback": True}
            item.add_marker(pytest.mark.django_db(**everything))


# They mostly wait for time limits of the product.
WAITING = ("tests/imcloud/test_beat.py", "tests/routing/test_supervisor.py")


class Files(LoadFileScheduling):
    """A file at a time; the last of three processes has WAITING, and leaves the processors to the others."""

    def _assign_work_unit(self, node: Any) -> None:
        waits = self.numnodes > 2 and node.gateway.id == f"gw{self.numnodes - 1}"
        its = next((file for file in self.workqueue if (file in WAITING) is waits), None)
        if its is None and waits:
            node.shutdown()
            return
        if its is not None:
            self.workqueue.move_to_end(its, last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "Files | None":
    return Files(config, log) if config.getvalue("dist") == "loadfile" else None


def missing_for_browser() -> str:
    """What a browser test lacks here, as a sentence; empty when nothing."""
    lacking = [
        what
        for what, there in (
            ("Node.js", shutil.which("node")),
            ("Chromium", shutil.which("chromium")),
            ("tests/browser/node_modules (npm ci)", (BROWSER / "node_modules").is_dir()),
        )
        if not there
    ]
    return f"browser tests need {', '.join(lacking)}" if lacking else ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("browser") and (lacking := missing_for_browser()):
        if os.environ.get("CI") == "true":
            pytest.fail(lacking, pytrace=False)
        pytest.skip(lacking)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails at the shared stack shows what that logged meanwhile."""
    report = yield
    log = DATA / "stack" / "run.log"
    if report.when == "setup":
        LOGGED[item.nodeid] = log.stat().st_size if log.exists() else 0
    elif report.failed and "stack" in getattr(item, "fixturenames", ()):
        with log.open("rb") as file:
            file.seek(max(LOGGED[item.nodeid] - LOGGED_BEFORE, 0))
            report.sections.append(("run.log", file.read(LOGGED_MOST).decode(errors="replace")))
    return report


LOGGED: dict[str, int] = {}  # test -> size of the shared stack's log when it began
LOGGED_BEFORE, LOGGED_MOST = 4000, 20_000  # bytes


def pytest_unconfigure() -> None:
    shutil.rmtree(DATA, ignore_errors=True)


@pytest.fixture(scope="session")
def servers() -> Iterator[Config]:
    """Embedded PostgreSQL and Redis for this test run, where the settings expect them."""
    config = read(os.environ)
    with embedded_servers(config):
        yield config


def wait_for(condition: Callable[[], Any], seconds: float, failure: str) -> None:
    """Until the condition is true; AssertionError with `failure` when it is not within the time."""
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, failure
        time.sleep(0.02)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(servers: Config) -> None:
    """Tests use the databases by their real names, so that processes which they start use the same ones."""
    from django.db import connections

    for alias in DATABASES:
        # No dependencies: a run of tests that use set1 only does not make the other ones.
        described = connections.settings[alias]
        described.setdefault("TEST", {}).update(NAME=described["NAME"], DEPENDENCIES=[])


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """The servers go at the end, and the databases with them."""
    return True


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> None:
    """Between tests, empty tables cost nothing, and what no test changes stays.

    TRUNCATE makes new files for all tables of three databases, and Django would save hundreds of permissions
    again, one by one: together that took longer than the tests themselves.
    """
    import json

    from django.db import connections
    from django.db.backends.postgresql.operations import DatabaseOperations

    static = {"django_content_type", "auth_permission"}

    def sql_flush(self: Any, style: Any, tables: Any, **how: Any) -> list[str]:
        deletes = [f"DELETE FROM {self.quote_name(table)}" for table in tables if table not in static]
        # One round trip; the role keeps triggers and foreign keys out of it.
        role = "SET session_replication_role"
        return ["; ".join([f"{role} = replica", *deletes, f"{role} = DEFAULT"])]

    DatabaseOperations.sql_flush = sql_flush  # type: ignore[method-assign]
    for alias in DATABASES:
        connection: Any = connections[alias]
        if not hasattr(connection, "_test_serialized_contents"):
            continue  # no test of this run uses it
        kept = json.loads(connection._test_serialized_contents)
        kept = [row for row in kept if row["model"] not in ("contenttypes.contenttype", "auth.permission")]
        connection._test_serialized_contents = json.dumps(kept)


@pytest.fixture
def databases(django_db_serialized_rollback: None, transactional_db: None) -> None:
    """All databases, migrated, with committed data; emptied to what the migrations made after the test."""


@pytest.fixture(autouse=True)
def content_types(request: pytest.FixtureRequest) -> None:
    """A test in a transaction finds all of them, though `databases` has left the table empty before it.

    Django remembers their keys for the process, and the admin pages' log refers to them: what one test makes
    and takes back, the next one would refer to.
    """
    from django.apps import apps
    from django.contrib.contenttypes.models import ContentType

    ContentType.objects.clear_cache()
    marker = request.node.get_closest_marker("django_db")
    if "db" in request.fixturenames or (marker and not marker.kwargs.get("transaction")):
        request.getfixturevalue("db")
        ContentType.objects.get_for_models(*apps.get_models())


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    """What an earlier test had in its databases: their versions begin again, and may be the same ones."""
    from apps.accounts.directory import directory
    from apps.accounts.webhooks import table
    from apps.messaging.sensitive_words import words
    from apps.messaging.tenant_rules import rules

    directory._value = rules._value = words._value = table._value = None


@pytest.fixture
def redis_client(servers: Config) -> Iterator["redis.Redis"]:
    """The Redis of this test run, empty (all its databases)."""
    with redis.Redis.from_url(servers.redis) as client:
        client.flushall()
        yield client


class WholeStack(Stack):
    """A running `manage.py run`."""

    @property
    def app_key(self) -> str:
        return str(self.describe()["app_key"])

    @property
    def app_secret(self) -> str:
        return str(self.describe()["app_secret"])

    def pids(self) -> dict[str, int]:
        """Process name -> pid, as they are now."""
        return dict(self.describe()["pids"])


@pytest.fixture(scope="session")
def object_store() -> Iterator["ObjectStore"]:
    """Where the clients of `stack` put their files."""
    from tests.browser.object_store import ObjectStore  # it loads botocore, which few runs need

    with contextlib.closing(ObjectStore()) as store:
        yield store


@pytest.fixture(scope="session")
def stack(object_store: "ObjectStore") -> Iterator[WholeStack]:
    """One whole stack for all tests that only talk to it; those that break one start their own."""
    with running(DATA / "stack", NODES="1", WEBHOOK_PRIVATE="1", **object_store.settings) as started:
        yield WholeStack(started.data, started.process, started.log)
