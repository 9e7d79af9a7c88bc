"""The methods of the client protocol: every one is known, answered, and told of on the page about them."""

from collections import Counter
from io import StringIO

from django.core.management import call_command

from apps.messaging.management.commands.methods import known
from apps.messaging.tasks import MESSAGE_METHODS, QUERY_METHODS
from apps.routing.methods import ALL, INTERNAL, METHODS
from tests.conftest import ROOT


def test_the_page_is_what_the_tables_say() -> None:
    out = StringIO()
    call_command("methods", stdout=out)
    page = (ROOT / "docs" / "compatibility.md").read_text()
    assert out.getvalue() == page, "manage.py methods > docs/compatibility.md writes it anew"


def test_each_method_is_on_the_page_once_and_none_that_is_not_for_clients() -> None:
    named = Counter(name for names in known().values() for name in names)
    assert [name for name, times in named.items() if times > 1] == []
    assert METHODS.keys() - named.keys() == set()
    assert INTERNAL.keys() & named.keys() == set()


def test_nodes_answer_what_gateways_let_through_and_each_in_its_lane() -> None:
    assert MESSAGE_METHODS.keys() == {name for name, method in ALL.items() if method.is_message}
    assert QUERY_METHODS.keys() == {name for name, method in ALL.items() if not method.is_message}
