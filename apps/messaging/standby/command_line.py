"""What `manage.py sets` does about standbys, and `manage.py replication`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import psycopg
from django.core.exceptions import ValidationError
from tqdm import tqdm  # type: ignore[import-untyped]

from apps.accounts import command_line
from apps.messaging.log import Unavailable
from apps.messaging.standby import adding, comparing, failover, replication
from apps.messaging.standby.shipping import StandbyAway
from apps.routing.models import Failover, ServerSet
from apps.routing.topology import topology

Options = dict[str, Any]
STEP_EVERY = 0.5  # s between two tries of a step that waits
FOLLOW_EVERY = 1.0  # s


def named(name: str) -> ServerSet:
    """ValidationError when there is no such SET."""
    found = ServerSet.objects.filter(name=name).first()
    if found is None:
        names = ", ".join(ServerSet.objects.order_by("pk").values_list("name", flat=True)) or "none yet"
        raise ValidationError(f"There is no SET {name}; the SETs are: {names}.")
    return found


def _with_standby(name: str | None) -> list[str]:
    if name:
        if not named(name).standby:
            raise ValidationError(f"SET {name} has no standby.")
        return [name]
    return list(ServerSet.objects.exclude(standby="").order_by("pk").values_list("name", flat=True))


def standby(out: Any, err: Any, options: Options) -> None:
    its = named(options["name"])
    if options["none"] == bool(options["url"]):
        raise ValidationError("Name the standby's database, or say --none.")
    if options["none"]:
        adding.remove(its.name)
        command_line.log_change(its, "Has no standby any more.")
        out.write(f"{its.name} has no standby.")
        return
    adding.add(its.name, options["url"])
    command_line.log_change(its, "Has a standby.")
    out.write(f"{its.name} has a standby, which follows: see manage.py replication status --follow.")


def durability(out: Any, err: Any, options: Options) -> None:
    its = named(options["name"])
    its.durability = options["durability"]
    if options["when_away"]:
        its.when_standby_away = options["when_away"]
    its.full_clean()
    its.save(update_fields=["durability", "when_standby_away"])
    command_line.log_change(its, f"Durability {its.durability}, {its.when_standby_away} without its standby.")
    out.write(f"{its.name}: {its.durability}; while the standby is away: {its.when_standby_away}.")


def fail_over(out: Any, err: Any, options: Options) -> None:
    its = named(options["name"])
    under_way = Failover.objects.filter(server_set=its).exclude(step__in=failover.OVER).first()
    if options["dry_run"]:
        out.write(str(failover.outlook(its.name)))
        if under_way is not None:
            out.write(f"{under_way} is in step {under_way.step}.")
        return
    if under_way is None:
        out.write(str(failover.outlook(its.name)))
        under_way = failover.begin(its.name, planned=options["planned"], asked_by=command_line.who())
        command_line.log_change(its, "Failover.")
    _go_on(out, under_way)


def fail_back(out: Any, err: Any, options: Options) -> None:
    fail_over(out, err, {"name": options["name"], "dry_run": False, "planned": True})


def _go_on(out: Any, one: Failover) -> None:
    """Until everybody is told where the log is; what comes then, nobody waits for."""
    began, told = time.monotonic(), ""
    while one.step in failover.BEFORE_SWITCH:
        before = one.step
        one = failover.step(one.pk)
        if one.step != before:
            out.write(f"{time.monotonic() - began:6.1f} s  {before}: done")
        elif one.problem != told:
            told = one.problem
            out.write(f"{time.monotonic() - began:6.1f} s  {one.step} waits: {told}")
        else:
            time.sleep(STEP_EVERY)
    if one.step == Failover.Step.CANCELLED:
        raise ValidationError(f"{one} was cancelled.")
    out.write(
        f"{one.server_set.name} is in epoch {one.epoch}. Its old primary follows by itself when it is back: "
        "manage.py replication status --follow."
    )


def confirm(out: Any, err: Any, options: Options) -> None:
    its = named(options["name"])
    came = list(Failover.objects.filter(server_set=its, automatic=True, confirmed=False))
    for one in came:
        one.confirmed = True
        one.save(update_fields=["confirmed"])
        command_line.log_change(its, f"Failover {one.pk} of {its} confirmed.")
    out.write(f"{len(came)} confirmed." if came else f"SET {its.name} has not failed over by itself.")


def cancel(out: Any, err: Any, options: Options) -> None:
    its = named(options["name"])
    one = Failover.objects.filter(server_set=its).exclude(step__in=failover.OVER).first()
    if one is None:
        raise ValidationError(f"No failover of SET {its.name} is under way.")
    failover.cancel(one.pk)
    command_line.log_change(its, f"Failover {one.pk} of {its} cancelled.")
    out.write(f"{one} is cancelled.")


def compare(out: Any, err: Any, options: Options) -> None:
    for name in _with_standby(options["name"]):
        with tqdm(desc=name, unit="rows", unit_scale=True, file=err, disable=options["json"]) as bar:

            def show(done: int, of: int, bar: Any = bar) -> None:
                bar.total = of
                bar.update(done - bar.n)

            result = comparing.compare(
                name, repair=options["repair"], asked_by=command_line.who(), progress=show
            )
        if options["repair"]:
            command_line.log_change(named(name), f"Standby repaired: {result.wrong} rows differed.")
        if options["json"]:
            out.write(json.dumps(result.as_dict()))
            continue
        out.write(
            f"{name}: {result.rows} rows up to seq {result.position} compared in {result.seconds:.1f} s"
        )
        for found in result.tables:
            if found.wrong:
                out.write(
                    f"  {found.table}: {found.missing} missing, {found.extra} too many, {found.different} "
                    f"different: {', '.join(found.keys)}"
                )
        done = "brought over again" if options["repair"] else "--repair brings them over again"
        out.write(f"  {result.wrong} rows differ; {done}" if result.wrong else "  they are equal")


ACTIONS: dict[str, Callable[[Any, Any, Options], None]] = {
    "standby": standby,
    "durability": durability,
    "failover": fail_over,
    "failback": fail_back,
    "confirm": confirm,
    "cancel": cancel,
    "compare": compare,
}


def status() -> list[dict[str, Any]]:
    """Of each SET that has a standby: how it is, machine-readable."""
    topology.renew()
    return [_state(its) for its in ServerSet.objects.exclude(standby="").order_by("pk")]


def _state(its: ServerSet) -> dict[str, Any]:
    under_way = Failover.objects.filter(server_set=its).exclude(step__in=failover.OVER).first()
    state: dict[str, Any] = {
        "set": its.name,
        "epoch": its.epoch,
        "durability": its.durability,
        "degraded": its.degraded_at is not None,
        "failover": under_way.step if under_way else None,
    }
    try:
        lag = replication.lag(its.name)
    except (StandbyAway, Unavailable, psycopg.Error) as error:
        return state | {"position": None, "rows": None, "seconds": None, "problem": _line(error)}
    return state | {
        "position": lag.position, "rows": lag.rows, "seconds": round(lag.seconds, 3), "problem": ""
    }  # fmt: skip


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
