import string
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.accounts import tokens
from apps.accounts.directory import NO_RESTRICTION, Restriction, TenantEntry
from apps.accounts.tokens import Reason, TokenRefused

ALICES = TenantEntry(1, "Alice's", "alices", "the secret of Alice's app")
MALLORYS = TenantEntry(2, "Mallory's", "mallorys", "the secret of Mallory's app")
NOW = 1_800_000_000_000

user_ids = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda t: len(t.encode()) <= 64)


def anybody(tenant_id: int, user_id: str) -> Restriction:
    return NO_RESTRICTION


def refusal(tenant: TenantEntry, token: str, restriction: Restriction = NO_RESTRICTION) -> Reason:
    with pytest.raises(TokenRefused) as refused:
        tokens.verify(tenant, token, lambda tenant_id, user_id: restriction, now_ms=NOW)
    return refused.value.reason


@settings(deadline=None)
@given(user_ids, st.integers(1, 2**48 - 1))
def test_a_token_names_its_user_and_moment_and_fits_every_client(user_id: str, moment: int) -> None:
    token = tokens.issue(ALICES, user_id, now_ms=moment)
    assert tokens.verify(ALICES, token, anybody) == (user_id, moment)
    assert len(token) <= 116
    assert set(token) <= set(string.ascii_letters + string.digits + "-_")


def test_navigation_addresses_behind_the_at_sign_are_not_looked_at() -> None:
    token = tokens.issue(ALICES, "alice")
    assert tokens.verify(ALICES, f"{token}@http://navi.example:8000;other", anybody).user_id == "alice"
    assert tokens.verify(ALICES, f"{token}@", anybody).user_id == "alice"


def test_mallorys_app_cannot_make_a_token_for_alices() -> None:
    assert refusal(ALICES, tokens.issue(MALLORYS, "alice")) is Reason.INCORRECT


def test_apps_that_were_given_one_secret_still_do_not_take_each_others_tokens() -> None:
    twin = replace(MALLORYS, app_secret=ALICES.app_secret)
    assert refusal(ALICES, tokens.issue(twin, "alice")) is Reason.INCORRECT


def test_a_rotated_secret_ends_all_tokens() -> None:
    token = tokens.issue(ALICES, "alice")
    assert refusal(replace(ALICES, app_secret="another secret"), token) is Reason.INCORRECT


def test_mallory_cannot_rename_herself_alice_in_her_token() -> None:
    raw = urlsafe_b64decode(tokens.issue(ALICES, "mally") + "==")
    forged = urlsafe_b64encode(raw.replace(b"mally", b"alice")).rstrip(b"=").decode()
    assert refusal(ALICES, forged) is Reason.INCORRECT


def test_no_single_character_of_a_token_can_be_changed() -> None:
    token = tokens.issue(ALICES, "alice", now_ms=NOW)
    for place, right in enumerate(token):
        for wrong in "A_-9\n=":
            if wrong != right:
                assert refusal(ALICES, token[:place] + wrong + token[place + 1 :]) is Reason.INCORRECT
    assert refusal(ALICES, token + "=") is Reason.INCORRECT


@settings(deadline=None)
@given(st.one_of(st.text(), st.binary().map(lambda raw: urlsafe_b64encode(raw).rstrip(b"=").decode())))
def test_whatever_the_text_verify_raises_nothing_but_refused(token: str) -> None:
    assert refusal(ALICES, token) is Reason.INCORRECT


def test_a_token_issued_at_or_before_the_users_expiry_is_expired_and_a_later_one_is_not() -> None:
    expired = Restriction(tokens_valid_after_ms=NOW)
    assert refusal(ALICES, tokens.issue(ALICES, "alice", now_ms=NOW), expired) is Reason.EXPIRED
    later = tokens.issue(ALICES, "alice", now_ms=NOW + 1)
    assert tokens.verify(ALICES, later, lambda *user: expired).user_id == "alice"


def test_a_blocked_user_is_refused_until_the_block_ends() -> None:
    token = tokens.issue(ALICES, "alice", now_ms=NOW)
    assert refusal(ALICES, token, Restriction(blocked_until_ms=NOW + 1)) is Reason.BLOCKED
    over = Restriction(blocked_until_ms=NOW)
    assert tokens.verify(ALICES, token, lambda *user: over, now_ms=NOW).user_id == "alice"


def test_who_is_deactivated_is_told_so_whatever_his_token() -> None:
    token = tokens.issue(ALICES, "alice", now_ms=NOW)
    for restriction in (
        Restriction(deactivated=True),
        Restriction(tokens_valid_after_ms=NOW, blocked_until_ms=NOW + 1, deactivated=True),
    ):
        assert refusal(ALICES, token, restriction) is Reason.DEACTIVATED
    assert tokens.verify(ALICES, token, lambda *user: Restriction(deleted_ms=NOW)).user_id == "alice"
