"""Names that come from web pages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact_store.domain.names import MAX_NAME_BYTES, clean_display_name, with_suffix


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("report.csv", "report.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\a.txt", "a.txt"),
        ("/absolute", "absolute"),
        ("a\0b\r\nc.txt", "abc.txt"),
        ("evil\u202egpj.exe", "evilgpj.exe"),
        ("...", "unnamed"),
        ("", "unnamed"),
        (".bashrc", "bashrc"),
        ("CON.txt", "_CON.txt"),
        ('a<b>"c|?*.txt', "a_b__c___.txt"),
        ("日本 語.pdf", "日本 語.pdf"),
        ("👩\u200d👧.png", "👩\u200d👧.png"),
        ("folder/", "folder"),
    ],
)
def test_a_name_keeps_what_is_harmless(name: str, cleaned: str) -> None:
    assert clean_display_name(name) == cleaned


def test_a_long_name_is_shortened_and_keeps_its_suffix() -> None:
    cleaned = clean_display_name("ü" * 300 + ".csv")
    assert cleaned.endswith(".csv")
    assert MAX_NAME_BYTES - 1 <= len(cleaned.encode()) <= MAX_NAME_BYTES


@given(st.text())
def test_any_name_becomes_one_plain_line_of_bounded_length(name: str) -> None:
    cleaned = clean_display_name(name)
    assert 0 < len(cleaned.encode()) <= MAX_NAME_BYTES
    assert not set(cleaned) & set('/\\\0\r\n"<>|?*:\u202e')
    assert cleaned == clean_display_name(cleaned)


@given(st.text())
def test_a_changed_suffix_is_the_last_one(name: str) -> None:
    changed = with_suffix(clean_display_name(name), ".webm")
    assert changed.endswith("webm")
    assert len(changed.encode()) <= MAX_NAME_BYTES
