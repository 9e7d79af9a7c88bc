"""The environment is read strictly: what is not understood is refused in one sentence."""

from pathlib import Path

import pytest

from imcloud.config import BASE_DIR, SOCKET_PATH_MAX, ConfigError, read, table


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
        ("PROXIES", "10.0.0.1/8"),
        ("PROXIES", "proxy.example.com"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_what_is_right(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^IMCLOUD_{name} must .*, not '{value}'"):
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
    ],
)
def test_the_broker_is_the_next_database_of_the_same_redis(redis: str, expected: str) -> None:
    assert read({"IMCLOUD_REDIS_URL": redis}).broker == expected


def test_sockets_move_out_of_a_data_folder_whose_path_is_too_long() -> None:
    near, far = read({"IMCLOUD_DATA": "/srv/im"}), read({"IMCLOUD_DATA": f"/{'x' * SOCKET_PATH_MAX}"})
    assert near.socket_dir == Path("/srv/im/run")
    assert len(str(far.socket_dir)) < 60
    assert far.socket_dir != read({"IMCLOUD_DATA": f"/{'y' * SOCKET_PATH_MAX}"}).socket_dir


def test_the_documentation_has_the_table_of_today() -> None:
    assert table() in (BASE_DIR / "docs" / "settings.md").read_text()
