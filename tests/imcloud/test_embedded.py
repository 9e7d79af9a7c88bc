"""Which servers are taken, and what is said when there is none."""

from pathlib import Path

import pytest

from imcloud import embedded
from imcloud.embedded import EmbeddedError


def program(folder: Path, name: str, says: str) -> Path:
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{says}'\n")
    file.chmod(0o755)
    return file


def test_a_server_on_path_is_preferred_and_one_that_is_too_old_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    program(tmp_path, "redis-server", "Redis server v=5.0.14 sha=00000000:0")
    valkey = program(tmp_path, "valkey-server", "Valkey server v=8.1.0 sha=00000000:0")
    assert embedded.redis_binary() == str(valkey)


def test_without_any_redis_the_operator_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmbeddedError, match=r"apt-get install redis-server.*IMCLOUD_REDIS_URL"):
        embedded.redis_binary()


def test_a_folder_that_is_a_link_to_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to("/tmp")
    with pytest.raises(EmbeddedError, match="belongs to somebody else"):
        embedded.own_folder(tmp_path / "run")
