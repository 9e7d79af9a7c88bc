from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.messaging.server_api.body import BODY_MAX, VALUES_MAX, BadBody, parse


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", {}),
        (b"userId=a&userId=b&name=", {"userId": ["a", "b"], "name": [""]}),
        (b"name=%E5%BF%98+x%2By", {"name": ["忘 x+y"]}),
        ("name=忘情水&u=https://x.y/z.png?a=b".encode(), {"name": ["忘情水"], "u": ["https://x.y/z.png?a=b"]}),
        (b"name=100%&x=%zz%2", {"name": ["100%"], "x": ["%zz%2"]}),
        (b'pushExt={"title":"a=b"}&flag', {"pushExt": ['{"title":"a=b"}'], "flag": [""]}),
        (b"chatroom[r1]=n&chatroom%5Br2%5D=m", {"chatroom[r1]": ["n"], "chatroom[r2]": ["m"]}),
        (b"&&=x&a=1&\r\n", {"a": ["1"]}),
        (b"%", {"%": [""]}),
        (b' {"userIds": ["a", "b"], "n": 1, "on": true, "none": null}',
         {"userIds": ["a", "b"], "n": ["1"], "on": ["true"], "none": []}),
        ('{"content": {"content": "嗨"}, "t": [1, [2]]}'.encode(),
         {"content": ['{"content": "嗨"}'], "t": ["1", "[2]"]}),
    ],
)  # fmt: skip
def test_bodies_as_sdks_send_them_are_understood(body: bytes, fields: dict[str, list[str]]) -> None:
    assert parse(body) == fields


@pytest.mark.parametrize(
    "body",
    [b"name=%FF", b"name=\xff", b"\xff=x", b"{", b"{}x", b'{"a": "\\ud800"}', b'{"a": ["\\udfff"]}',
     b'{"a":' * 100_000, b'{"a":"\xff"}', b'{"a":' + b"9" * 10_000 + b"}"],
)  # fmt: skip
def test_bodies_that_cannot_be_understood_are_named_so(body: bytes) -> None:
    with pytest.raises(BadBody):
        parse(body)


@pytest.mark.parametrize(
    "body",
    [
        b"a&" * (VALUES_MAX + 1),
        b"&".join(b"a=%d" % i for i in range(VALUES_MAX + 2)),
        b'{"a":[' + b",".join([b"1"] * (VALUES_MAX + 1)) + b"]}",
        b'{"a":[' + b",".join([b"{}"] * (BODY_MAX // 3)) + b"]}",
        b"{" + b",".join(b'"%d":1' % i for i in range(VALUES_MAX + 1)) + b"}",
    ],
)
def test_a_body_of_very_many_values_is_refused_before_they_are_looked_at(body: bytes) -> None:
    with pytest.raises(BadBody, match="too many values"):
        parse(body)


def test_a_template_of_the_longest_lists_is_not_too_long() -> None:
    body = b'{"a":[' + b",".join([b'"x"'] * (VALUES_MAX - 1)) + b'],"b":2}'
    assert len(parse(body)["a"]) == VALUES_MAX - 1


@given(st.text("%4aFgz+", max_size=12).map(str.encode))
def test_escapes_are_read_as_the_standard_library_reads_them(text: bytes) -> None:
    read = unquote_to_bytes(text.replace(b"+", b" "))
    try:
        expected = read.decode()
    except UnicodeDecodeError:
        with pytest.raises(BadBody):
            parse(b"a=" + text)
    else:
        assert parse(b"a=" + text) == {"a": [expected]}


@settings(deadline=None)
@given(st.one_of(st.binary(), st.binary().map(lambda raw: b"{" + raw), st.text().map(str.encode)))
def test_whatever_the_bytes_fields_or_a_named_refusal_come_out(body: bytes) -> None:
    try:
        fields = parse(body)
    except BadBody:
        return
    assert all(value.encode() is not None for values in fields.values() for value in values)


names = st.text(st.characters(codec="utf-8"), min_size=1)


@settings(deadline=None)
@given(st.dictionaries(names, st.lists(st.text(st.characters(codec="utf-8")), min_size=1)))
def test_a_well_encoded_form_comes_back_as_it_was(fields: dict[str, list[str]]) -> None:
    from urllib.parse import urlencode

    body = urlencode(fields, doseq=True).encode()
    assert parse(body) == fields
