"""Page tokens: opaque, signed, tied to their query."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkit.paging import InvalidPageToken, Page, PageRequest, PageTokens

_TOKENS = PageTokens(b"secret")


def _token(after: str | None, query: str = "q") -> str:
    return _TOKENS.token(Page(items=[1], next_after=after), query=query)


@given(st.text(alphabet=st.characters(codec="utf-8")), st.text(alphabet=st.characters(codec="utf-8")))
def test_a_token_continues_its_own_query(after: str, query: str) -> None:
    token = _token(after, query)
    assert _TOKENS.request(page_size=7, page_token=token, query=query) == PageRequest(size=7, after=after)


@given(st.text(max_size=100))
def test_no_made_up_token_is_accepted(token: str) -> None:
    if token:
        with pytest.raises(InvalidPageToken):
            _TOKENS.request(page_size=0, page_token=token, query="q")


def test_a_token_of_another_query_or_another_fleet_is_refused() -> None:
    with pytest.raises(InvalidPageToken):
        _TOKENS.request(page_size=0, page_token=_token("key", "other"), query="q")
    with pytest.raises(InvalidPageToken):
        PageTokens(b"other").request(page_size=0, page_token=_token("key"), query="q")


def test_a_changed_token_is_refused() -> None:
    raw = bytearray(base64.urlsafe_b64decode(_token("key")))
    raw[-1] ^= 1
    with pytest.raises(InvalidPageToken):
        _TOKENS.request(page_size=0, page_token=base64.urlsafe_b64encode(raw).decode(), query="q")


def test_the_last_page_has_no_token() -> None:
    assert _token(None) == ""


@pytest.mark.parametrize(("asked", "given_"), [(0, 50), (1, 1), (1000, 1000), (10**9, 1000)])
def test_a_size_has_a_default_and_a_limit(asked: int, given_: int) -> None:
    assert _TOKENS.request(page_size=asked, page_token="", query="q") == PageRequest(size=given_)


def test_a_page_is_converted_row_by_row() -> None:
    assert Page(items=[1, 2], next_after="k").map(str) == Page(items=["1", "2"], next_after="k")
