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


def test_memory_is_charged_as_cpu_is_and_a_process_that_has_ended_has_none() -> None:
    own, ended = os.getpid(), 1 << 30
    table = {own: processes()[own], ended: (own, 0.0)}
    alone = memory_by_kind({own: "tests"}, {own: table[own]})["tests"]
    both = memory_by_kind({own: "tests"}, table)["tests"]
    assert 1 << 20 < alone <= resident(own)
    assert 1 << 20 < both <= resident(own)
