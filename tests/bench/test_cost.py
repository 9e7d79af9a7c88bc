"""CPU is charged to the kind of process that caused it."""

import os

from bench.cost import cpu_by_kind, machine, memory_by_kind, processes, resident

TABLE = {1: (0, 9.0), 10: (1, 1.0), 11: (10, 2.0), 12: (11, 4.0), 20: (1, 8.0)}  # pid -> (parent, seconds)


def test_a_process_belongs_to_the_nearest_named_one_above_it() -> None:
    assert cpu_by_kind({10: "gateway"}, TABLE) == {"gateway": 7.0}
    assert cpu_by_kind({10: "node supervisor", 11: "message worker"}, TABLE) == {
        "node supervisor": 1.0,
        "message worker": 6.0,
    }


def test_processes_of_one_kind_are_added_and_strangers_left_out() -> None:
    assert cpu_by_kind({12: "message worker", 20: "message worker"}, TABLE) == {"message worker": 12.0}


def test_the_processes_of_this_machine_can_be_read() -> None:
    parent, seconds = processes()[os.getpid()]
    assert parent == os.getppid()
    assert 0 < seconds < machine()
    assert resident(os.getpid()) > 1 << 20


def test_memory_is_charged_by_kind_and_what_is_shared_is_not_counted_twice() -> None:
    table = processes()
    found = memory_by_kind({os.getpid(): "tests", os.getpid() + (1 << 30): "nobody"}, table)
    assert list(found) == ["tests"]
    assert found["tests"] * 1e6 / (1 << 20) > 1
    alone = memory_by_kind({os.getpid(): "tests"}, {os.getpid(): table[os.getpid()]})
    assert alone["tests"] * 1e6 <= resident(os.getpid()) + (1 << 20)
