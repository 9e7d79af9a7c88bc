import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.accounts.directory import TenantEntry
from apps.accounts.signatures import BAD_SIGNATURE, LOCKED, SignatureRefused, sign, signer
from tests.accounts.tenants import signed

ALICES = TenantEntry(1, "Alice's", "alices", "the secret of Alice's app")
MALLORYS = TenantEntry(2, "Mallory's", "mallorys", "the secret of Mallory's app")
KNOWN = {tenant.app_key: tenant for tenant in (ALICES, MALLORYS)}


def refused(headers: dict[str, str], known: dict[str, TenantEntry] = KNOWN) -> int:
    with pytest.raises(SignatureRefused) as refusal:
        signer(headers, known.get)
    return refusal.value.code


def test_the_signature_is_the_published_one() -> None:
    assert sign("secret", "14314", "1408706337") == hashlib.sha1(b"secret143141408706337").hexdigest()


@pytest.mark.parametrize("prefix", ["", "RC-"])
@pytest.mark.parametrize("timestamp", ["1800000000", "1800000000123", "1"])
def test_both_spellings_and_any_moment_are_taken(prefix: str, timestamp: str) -> None:
    assert signer(signed(ALICES, prefix, timestamp), KNOWN.get) is ALICES


def test_the_unprefixed_spelling_wins() -> None:
    assert signer({**signed(MALLORYS, "RC-"), **signed(ALICES)}, KNOWN.get) is ALICES


def test_one_nonce_is_good_for_ever() -> None:
    headers = signed(ALICES)
    assert [signer(headers, KNOWN.get) for _ in range(3)] == [ALICES] * 3


def test_an_upper_case_signature_is_the_same_signature() -> None:
    headers = signed(ALICES)
    assert signer({**headers, "Signature": headers["Signature"].upper()}, KNOWN.get) is ALICES


@pytest.mark.parametrize("name", ["App-Key", "Nonce", "Timestamp", "Signature"])
def test_each_header_is_needed(name: str) -> None:
    assert refused({**signed(ALICES), name: ""}) == BAD_SIGNATURE


def test_mallory_cannot_sign_for_alices_app() -> None:
    assert refused({**signed(MALLORYS), "App-Key": ALICES.app_key}) == BAD_SIGNATURE


def test_an_unknown_app_key_looks_like_a_bad_signature() -> None:
    assert refused(signed(replace(ALICES, app_key="nosuchkey"))) == BAD_SIGNATURE
    assert refused(signed(TenantEntry(9, "", "nosuchkey", ""))) == BAD_SIGNATURE


def test_a_locked_app_is_refused_only_when_it_proves_who_it_is() -> None:
    known = {"alices": replace(ALICES, locked=True)}
    assert refused(signed(ALICES), known) == LOCKED
    assert refused({**signed(ALICES), "Nonce": "another"}, known) == BAD_SIGNATURE


@settings(deadline=None)
@given(st.fixed_dictionaries({name: st.text() for name in ("App-Key", "Nonce", "Timestamp", "Signature")}))
def test_whatever_the_headers_nothing_but_a_refusal_is_raised(headers: dict[str, str]) -> None:
    assert refused(headers) == BAD_SIGNATURE
