"""The texts in a message's content: they change, and nothing else of it does."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.messaging.message_texts import TEXTS, change_texts, changed_content
from apps.messaging.word_search import WordSearch
from apps.routing.protocol.im_pb2 import UpStreamMessage
from apps.routing.protocol.packets import ProtocolError

REPLACEMENTS = st.text('"\\\n}*é😀', min_size=1, max_size=4)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
JSON = st.recursive(
    PLAIN | st.text('ab"\\\n é😀', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abcontent", max_size=7), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON, st.booleans(), st.sampled_from([None, 1, " \t"]), REPLACEMENTS)
def test_json_stays_json_and_only_its_texts_are_changed(
    rest: Any, escaped: bool, indent: Any, replacement: str
) -> None:
    said = {"a": rest, "content": "ab abb", "z": rest}
    before = json.dumps(said, ensure_ascii=escaped, indent=indent)
    search = WordSearch([("ab", replacement)])
    after = changed_content(before.encode(), ("content",), search.replaced).decode()
    assert json.loads(after) == said | {"content": f"{replacement} {replacement}b"}
    # Byte for byte: what the text was in the one is what the replaced one is in the other.
    place = before.rindex('"ab abb"')
    assert after.startswith(before[:place]) and after.endswith(before[place + len('"ab abb"') :])


@given(JSON)
def test_what_has_no_such_word_stays_byte_for_byte(rest: Any) -> None:
    before = json.dumps({"content": rest, "x": [rest]}, indent=1).encode()
    assert changed_content(before, ("content",), WordSearch([("ZZ", "*")]).replaced) == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"content":"d\\u0061mn"}', '{"content":"*"}'),
        ('{"n":1.10e999,"content":"damn","m":1' + "0" * 5000 + "}", None),
        ('{"content":"damn","content":"DAMN"}', '{"content":"*","content":"*"}'),
        ('{"content":"\\ud83d damn"}', '{"content":"\\ud83d *"}'),
        ('{"content":{"content":"damn"}}', '{"content":{"content":"damn"}}'),
        ('{"content":["damn"],"damn":1}', '{"content":["damn"],"damn":1}'),
        ('{"content":1}', '{"content":1}'),
        ("{}", "{}"),
        (' "damn" ', ' "*" '),
        ('["damn"]', '["damn"]'),
        ("damn", "*"),
        ('{"content":"damn"', '{"content":"*"'),
        ('{"content":"damn"} damn', '{"content":"*"} *'),
        ("", ""),
    ],
)
def test_contents_of_all_kinds(before: str, after: str | None) -> None:
    expected = before.replace("damn", "*") if after is None else after
    search = WordSearch([("damn", "*")])
    assert changed_content(before.encode(), ("content",), search.replaced).decode() == expected


def test_a_content_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(ProtocolError):
        changed_content(b'{"content":' + b"[" * 100_000, ("content",), WordSearch([("a", "b")]).replaced)


@pytest.mark.parametrize(
    ("classname", "name"), [(classname, name) for classname, names in TEXTS.items() for name in names]
)
def test_each_class_has_its_own_texts(classname: str, name: str) -> None:
    content = json.dumps({name: "damn", "imageUri": "http://damn", "user": {"name": "damn"}})
    up = UpStreamMessage(classname=classname, content=content.encode())
    assert change_texts(up, WordSearch([("damn", "*")]).replaced)
    assert json.loads(up.content) == {name: "*", "imageUri": "http://damn", "user": {"name": "damn"}}


def test_of_other_classes_the_push_is_changed_and_the_content_is_not_read() -> None:
    up = UpStreamMessage(classname="app:card", content=b"damn", pushText="damn it")
    up.pushExt.title = "Damn"
    assert change_texts(up, WordSearch([("damn", "*")]).replaced)
    assert (up.content, up.pushText, up.pushExt.title) == (b"damn", "* it", "*")
    assert not change_texts(up, WordSearch([("damn", "*")]).replaced)
    plain = UpStreamMessage(classname="RC:TxtMsg", content=b"{}")
    before = plain.SerializeToString()
    assert not change_texts(plain, WordSearch([("damn", "*")]).replaced)
    assert plain.SerializeToString() == before
