"""Words and mutes in the admin pages: whole files or nothing, and workers know at once what was lifted."""

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.auth.models import User as Operator
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from apps.accounts.models import Tenant
from apps.messaging import log, sensitive_words, tenant_rules
from apps.messaging.models import SensitiveWord, TenantRule
from apps.messaging.sensitive_words import Sensitive, words
from apps.messaging.tenant_rules import Rule, rules
from apps.messaging.word_import import FILE_MAX, WordFileError, read
from tests.accounts.tenants import alices, mallorys, renewed, tenants

__all__ = ["alices", "mallorys", "tenants"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"damn\nspam,***\n", [("damn", ""), ("spam", "***")]),
        (b"\xef\xbb\xbfdamn , ,*\r\n\r\n  \r\n  two words ", [("damn", ",*"), ("two words", "")]),
        ("笨蛋,😀\nDamn\ndamn\n".encode(), [("笨蛋", "😀"), ("Damn", "")]),
        (("x" * 32 + "," + "é" * 32).encode(), [("x" * 32, "é" * 32)]),
    ],
)
def test_a_file_has_a_word_a_line(data: bytes, expected: list[tuple[str, str]]) -> None:
    assert read(data) == expected


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"ok\n-\n", "Line 2: the word must have a letter or a digit."),
        (b"ok\n" + b"x" * 33, "Line 2: the word is longer than 32 characters."),
        (b"\n\nok," + b"x" * 33, "Line 3: the replacement is longer than 32 characters."),
        (b"ok\na\x00b", "Line 2: the word has characters that are no text."),
        (b"ok\nmore,", "Line 2: nothing follows the comma."),
        (b",x", "Line 1: the word must have a letter or a digit."),
        (b"ok\nspam\nSPAM,x", "Line 3: the word is in line 2 with something else for it."),
        (b"ok\nok\n\xff", "Line 3 is not UTF-8."),
        (b"\n \n", "There are no words in it."),
        (b"x" * (FILE_MAX + 1), f"The file is larger than {FILE_MAX} bytes."),
        (b"\n".join(b"w%d" % n for n in range(10_001)), "There are 10001 words in it; an app has 10000"),
    ],
)
def test_a_line_that_is_wrong_is_told_by_its_number(data: bytes, said: str) -> None:
    with pytest.raises(WordFileError, match=re.escape(said)):
        read(data)


def test_of_very_many_wrong_lines_the_first_are_told() -> None:
    with pytest.raises(WordFileError) as wrong:
        read(b"-\n" * 1000)
    assert len(wrong.value.problems) == 21 and wrong.value.problems[-1] == "980 more lines are wrong."


@pytest.fixture
def operator(tenants: tuple[Tenant, Tenant]) -> Client:
    client = Client()
    client.force_login(Operator.objects.create_superuser("operator"))
    return client


def upload(client: Client, tenant: Tenant, data: bytes) -> str:
    form = {"tenant": tenant.pk, "file": SimpleUploadedFile("words.txt", data)}
    response = client.post(reverse("admin:messaging_words_import"), form, follow=True)
    return response.content.decode()


def test_a_file_is_imported_whole_or_not_at_all_and_the_log_has_it(
    operator: Client, tenants: tuple[Tenant, Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = tenants
    assert (
        "Import words" in operator.get(reverse("admin:messaging_sensitiveword_changelist")).content.decode()
    )
    assert "Line 2: the word must have a letter" in upload(operator, mine, b"damn\n!\n")
    assert (
        "This field is required"
        in operator.post(reverse("admin:messaging_words_import"), {"tenant": mine.pk}).content.decode()
    )
    assert not SensitiveWord.objects.exists()
    page = upload(operator, mine, b"damn\nspam,***\n")
    assert "Imported 2 sensitive words from words.txt." in page and "damn" in page
    assert set(words.renew().by_tenant) == {mine.pk}
    monkeypatch.setattr(sensitive_words, "WORDS_MAX", 2)
    assert "0 more may be added" in upload(operator, mine, b"third")
    assert sensitive_words.listed(mine.pk) == [("damn", ""), ("spam", "***")]
    logged = LogEntry.objects.get()
    assert (logged.object_repr, logged.get_change_message()) == (
        "Alice's",
        "Imported 2 sensitive words from words.txt.",
    )
    assert upload(operator, theirs, b"damn,d")
    both = list(SensitiveWord.objects.filter(word="damn").values_list("pk", flat=True))
    operator.post(
        reverse("admin:messaging_sensitiveword_changelist"),
        {"action": "delete_selected", "_selected_action": both, "post": "yes"},
    )
    assert set(words.renew().by_tenant) == {mine.pk}
    last = SensitiveWord.objects.get()
    operator.post(reverse("admin:messaging_sensitiveword_delete", args=[last.pk]), {"post": "yes"})
    assert words.renew().by_tenant == {}


def test_who_may_only_look_imports_nothing(tenants: tuple[Tenant, Tenant]) -> None:
    looking = Operator.objects.create_user("looking", is_staff=True)
    looking.user_permissions.set(Permission.objects.filter(codename="view_sensitiveword"))
    client = Client()
    client.force_login(looking)
    sensitive_words.add(tenants[0].pk, [Sensitive("damn", "")])
    page = client.get(reverse("admin:messaging_sensitiveword_changelist")).content.decode()
    assert "damn" in page and "Import words" not in page
    address = reverse("admin:messaging_words_import")
    assert (client.get(address).status_code, client.post(address).status_code) == (403, 403)
    assert Client().post(address).status_code == 302
    (word,) = SensitiveWord.objects.all()
    client.post(reverse("admin:messaging_sensitiveword_delete", args=[word.pk]), {"post": "yes"})
    assert SensitiveWord.objects.count() == 1


def test_mutes_are_listed_with_their_end_and_one_that_is_deleted_holds_no_longer(
    operator: Client, tenants: tuple[Tenant, Tenant]
) -> None:
    tenant = tenants[0].pk
    tenant_rules.add(tenant, Rule.PRIVATE_MUTED, ["bob"])
    tenant_rules.add(tenant, Rule.GROUP_MUTED, ["carol"], log.now() + 60_000)
    page = operator.get(reverse("admin:messaging_tenantrule_changelist")).content.decode()
    assert "for ever" in page and re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}<", page)
    assert rules.renew().hold(tenant, Rule.PRIVATE_MUTED, "bob")
    TenantRule.objects.filter(name="carol").update(until=log.now() - 1)
    assert ", over<" in operator.get(reverse("admin:messaging_tenantrule_changelist")).content.decode()
    (mute,) = TenantRule.objects.filter(name="bob")
    operator.post(reverse("admin:messaging_tenantrule_delete", args=[mute.pk]), {"post": "yes"})
    assert not rules.renew().hold(tenant, Rule.PRIVATE_MUTED, "bob")


def test_a_tenant_is_closed_to_strangers_in_the_admin_pages(
    operator: Client, tenants: tuple[Tenant, Tenant]
) -> None:
    mine, theirs = (tenant.pk for tenant in tenants)
    form = {"name": "Alice's", "state": "active", "group_size": 500, "whitelist_only": "on"}
    operator.post(reverse("admin:accounts_tenant_change", args=[mine]), form)
    known = renewed()
    assert [known.by_id(tenant).whitelist_only for tenant in (mine, theirs)] == [True, False]  # type: ignore[union-attr]
    logged = LogEntry.objects.get()
    assert "Whitelist only" in logged.get_change_message()
