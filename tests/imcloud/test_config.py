"""The environment is read strictly: what is not understood is refused in one sentence."""

import re
from pathlib import Path

import pytest
from kombu import Connection

from imcloud import sites
from imcloud.config import (
    BASE_DIR,
    SENTINEL_PORT,
    SOCKET_PATH_MAX,
    ConfigError,
    kombu_url,
    read,
    sentinel,
    table,
)


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    config = read({"HOME": "/nobody", "IMCLOUD_PORT": ""})
    assert (config.port, config.bind, config.data) == (8000, "127.0.0.1", BASE_DIR / "var")
    assert config.allowed_hosts == ("*",)
    assert config.debug is False


def test_an_unknown_name_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match=r"^IMCLOUD_PROT is not a setting; did you mean IMCLOUD_PORT\?$"):
        read({"IMCLOUD_PROT": "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "８０００"),
        ("BIND", "localhost:80"),
        ("DEBUG", "yes"),
        ("DATABASE_URL", "mysql://h/d"),
        ("DATABASE_URL", "postgresql://host"),
        ("REDIS_URL", "http://h"),
        ("LOG_LEVEL", "LOUD"),
        ("TIME_ZONE", "Mars/Olympus"),
        ("PUBLIC_ADDRESS", "im.example.com"),
        ("GATEWAYS", "0"),
        ("SITES", "3"),
        ("REDIS_URL", "sentinel://h1,h2/0"),
        ("REDIS_URL", "sentinel://h1:port/0?master=m"),
        ("REDIS_URL", "sentinel://h1,,h2/0?master=m"),
        ("REDIS_URL", "sentinel://h1/0?master=m&db=1"),
        ("REDIS_URL", "sentinel://user:pw@h1/0?master=m"),
        ("BROKER_URL", "sentinel://h1:26379;sentinel://h2:26379"),
        ("PROXIES", "10.0.0.1/8"),
        ("PROXIES", "proxy.example.com"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_what_is_right(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^IMCLOUD_{name} must .*, not '{re.escape(value)}'"):
        read({f"IMCLOUD_{name}": value})


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        (
            "postgresql://u:p%40@db:5433/im?sslmode=require",
            "postgresql://u:p%40@db:5433/im_{set}?sslmode=require",
        ),
        ("postgresql:///im?host=/run/pg", "postgresql:///im_{set}?host=/run/pg"),
    ],
)
def test_the_databases_of_the_sets_are_beside_the_control_database(control: str, expected: str) -> None:
    assert read({"IMCLOUD_DATABASE_URL": control}).set_databases == expected


@pytest.mark.parametrize(
    ("redis", "expected"),
    [
        ("redis://h:6379", "redis://h:6379/1"),
        ("rediss://:pw@h:6379/3", "rediss://:pw@h:6379/4"),
        ("redis://h/?db=2", "redis://h/3"),
        ("unix:///run/r.sock?db=0", "redis+socket:///run/r.sock?virtual_host=1"),
        ("sentinel://:p%40@h1,h2:1/3?master=m", "sentinel://:p%40@h1,h2:1/4?master=m"),
        ("sentinel://h1?master=m", "sentinel://h1/1?master=m"),
    ],
)
def test_the_broker_is_the_next_database_of_the_same_redis(redis: str, expected: str) -> None:
    assert read({"IMCLOUD_REDIS_URL": redis}).broker == expected


def test_a_url_names_sentinels_their_master_and_the_passwords_of_both() -> None:
    assert sentinel("sentinel://:p%40@h1,[::1]:7/3?master=m&sentinel_password=s%26") == (
        (("h1", SENTINEL_PORT), ("::1", 7)),
        "m",
        "p@",
        "s&",
        3,
    )
    assert sentinel("sentinel://h1?master=m") == ((("h1", SENTINEL_PORT),), "m", None, None, 0)
    assert sentinel("redis://h1/3") is None


def test_kombu_is_told_of_each_sentinel() -> None:
    given = "sentinel://:p%40@h1,[::1]:7/3?master=m"
    assert kombu_url(given) == "sentinel://:p%40@h1:26379/3;sentinel://:p%40@[::1]:7/3"
    its = Connection(kombu_url(given))
    assert (its.hostname, its.port, its.password, its.virtual_host) == ("h1", 26379, "p@", "3")
    assert kombu_url("redis://:pw@h1/3") == "redis://:pw@h1/3"


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgresql://db/im"),
        ("SET_DATABASE_URL", "postgresql://db/im_{set}"),
        ("REDIS_URL", "redis://h"),
    ],
)
def test_two_sites_on_servers_of_ones_own_are_refused(name: str, url: str) -> None:
    with pytest.raises(ConfigError, match=f"^IMCLOUD_SITES is for the embedded servers: with IMCLOUD_{name}"):
        read({"IMCLOUD_SITES": "2", f"IMCLOUD_{name}": url})
    assert read({"IMCLOUD_SITES": "1", f"IMCLOUD_{name}": url}).sites == 1


def test_two_sites_are_made_once_and_found_by_whoever_has_the_data_folder(tmp_path: Path) -> None:
    config = read({"IMCLOUD_DATA": str(tmp_path)})
    assert sites.of(tmp_path) is None and config.redis.startswith("unix://")
    sites.have(tmp_path)
    made = sites.of(tmp_path)
    sites.have(tmp_path)
    assert made is not None and sites.of(tmp_path) == made
    assert len({*made.ports.values()}) == len(sites.REDIS) + len(sites.SENTINELS)
    assert (tmp_path / sites.FILE).stat().st_mode & 0o077 == 0
    its = sentinel(config.redis)
    assert its is not None and its.master == sites.MASTER
    assert its.password == its.sentinel_password == made.password
    witness, *_ = its.nodes
    assert witness == ("127.0.0.1", made.ports["sentinel"])  # the one that no site takes with it
    assert read({"IMCLOUD_DATA": str(tmp_path), "IMCLOUD_REDIS_URL": "redis://h"}).redis == "redis://h"


def test_one_site_is_not_made_two(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    sites.have(tmp_path)
    assert sites.of(tmp_path) is None


def test_sockets_move_out_of_a_data_folder_whose_path_is_too_long() -> None:
    near, far = read({"IMCLOUD_DATA": "/srv/im"}), read({"IMCLOUD_DATA": f"/{'x' * SOCKET_PATH_MAX}"})
    assert near.socket_dir == Path("/srv/im/run")
    assert len(str(far.socket_dir)) < 60
    assert far.socket_dir != read({"IMCLOUD_DATA": f"/{'y' * SOCKET_PATH_MAX}"}).socket_dir


def test_the_documentation_has_the_table_of_today() -> None:
    assert table() in (BASE_DIR / "docs" / "settings.md").read_text()
