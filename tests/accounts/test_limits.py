import json
from io import StringIO

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command

from apps.accounts.models import Tenant
from tests.accounts.tenants import renewed

Pair = tuple[Tenant, Tenant]


def limits(*words: str) -> dict[str, int | None]:
    out = StringIO()
    call_command("limits", *words, stdout=out)
    found: dict[str, int | None] = json.loads(out.getvalue())
    return found


def test_a_tenants_limits_are_changed_and_nobody_elses_and_that_is_in_the_log(tenants: Pair) -> None:
    before = limits("Alice's")
    assert before["message_rate"] is None and before["group_size"] == 3000
    assert limits("Alice's", "message_rate=50", "users_max=7") == before | {
        "message_rate": 50,
        "users_max": 7,
    }
    directory = renewed()
    mine, other = directory.by_id(tenants[0].pk), directory.by_id(tenants[1].pk)
    assert mine is not None and (mine.message_rate, mine.users_max) == (50, 7)
    assert other is not None and other.message_rate is None
    assert directory.message_rates == {tenants[0].pk: 50}
    assert LogEntry.objects.get().change_message == "Changed limits: message_rate=50, users_max=7."
    assert limits("Alice's", "message_rate=none")["message_rate"] is None
    assert renewed().message_rates == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("Nobody's",), "There is no tenant Nobody's."),
        (("Alice's", "speed=1"), "There is no limit speed"),
        (("Alice's", "message_rate=fast"), "message_rate is a whole number"),
        (("Alice's", "message_rate=-1"), "message_rate is a whole number"),
        (("Alice's", "message_rate=0"), "message_rate: "),
        (("Alice's", "group_size=none"), "group_size: "),
        (("Alice's", "users_max=99999999999"), "users_max: "),
    ],
)
def test_what_is_no_limit_is_a_sentence_and_changes_nothing(
    tenants: Pair, words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(CommandError, match=said):
        limits(*words)
    assert limits("Alice's")["message_rate"] is None and not LogEntry.objects.exists()
