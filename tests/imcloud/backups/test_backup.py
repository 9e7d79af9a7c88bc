"""A backup, restored elsewhere, is what was there at its moment, while everybody goes on."""

from pathlib import Path

from apps.routing import databases
from imcloud.backups import manifest
from imcloud.backups.restoring import at
from imcloud.config import Config
from tests.imcloud.backups.conftest import digests, manage


def test_a_restored_copy_equals_the_original(installation: Config, tmp_path: Path) -> None:
    print(manage("backup", tmp_path / "b"))
    control = installation.control_database
    originals = {"control": control, "set1": databases.url("set1"), "set2": databases.url("set2")}
    for name, url in originals.items():
        which = ["--control"] if name == "control" else ["--set", name]
        print(manage("restore", tmp_path / "b", *which, "--into", at(control, f"copy_{name}")))
        assert digests(at(control, f"copy_{name}")) == digests(url)
