"""Where a password may travel: the rule for base URLs."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from syncd.config import parse_base_url


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("https://marketplace-api.emag.ro/api-3", "https://marketplace-api.emag.ro/api-3"),
        ("https://marketplace-api.emag.ro/api-3///", "https://marketplace-api.emag.ro/api-3"),
        ("HTTPS://API.Example:8443/Path", "https://api.example:8443/Path"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("http://127.255.1.2", "http://127.255.1.2"),
        ("http://localhost:80/api-3", "http://localhost:80/api-3"),
        ("http://[::1]:5000/x", "http://[::1]:5000/x"),
    ],
)
def test_a_good_url_takes_its_one_form(text: str, result: str) -> None:
    assert parse_base_url(text) == result


@pytest.mark.parametrize(
    "text",
    [
        "", "https://", "https:///x", "ftp://127.0.0.1", "127.0.0.1", "//127.0.0.1", "javascript:alert(1)",
        "http://api.emag.ro", "http://127.0.0.1.evil.com", "http://localhost@evil.com", "http://localhost:80@evil.com",
        "http://localhost.evil.com", "http://evil.com#localhost", "http://evil.com?localhost", "http://localhost.",
        "http://evil.com\\@localhost", "http://localhost\\@evil.com", "http://localhost\t.evil.com", "http://0.0.0.0",
        "http://127.1", "http://0177.0.0.1", "http://2130706433", "http://0x7f.0.0.1", "http://127.0.0.01",
        "http://[::ffff:127.0.0.1]", "http://[::1%25eth0]", "http://[::2]", "http://[::1", "http://::1",
        "https://user:pw@api.emag.ro", "https://user@api.emag.ro", "https://api.emag.ro/x?y=z", "https://api.emag.ro/#x",
        "https://api.emag.ro/a b", " https://api.emag.ro", "https://api.emag.ro\n", "https://api.emag.ro/../x",
        "https://api.emag.ro:", "https://api.emag.ro:0", "https://api.emag.ro:65536", "https://api.emag.ro:x",
        "https://äpi.emag.ro", "http://localhoſt", "http://Ⓛocalhost", "http://127。0。0。1", "https://a..b",
        "https://-a.ro", "https://api.emag.ro/%2e%2e", "https:/api.emag.ro", "https://api.emag.ro//x",
        "https://" + "a" * 600, "https://mar\u212aetplace-api.emag.ro",
    ],
)  # fmt: skip
def test_any_other_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its text is for people
        parse_base_url(text)
    assert "evil" not in str(caught.value)


PIECES = ["http", "https", "HTTP", "://", "/", "//", "\\", "@", ":", "#", "?", "%", "%40", ".", "[", "]", "::1", "\t"]
PIECES += [
    "localhost",
    "LOCALHOST",
    "127.0.0.1",
    "127.",
    "0x7f",
    "evil.com",
    "80",
    "user",
    "é",
    "\u212a",
    "。",
    " ",
    "a",
]


@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join) | st.text(max_size=40).map("http://{}".format))
@example("http://localhost:80/a")
def test_what_is_accepted_has_one_reading_and_plain_http_stays_on_this_machine(text: str) -> None:
    with suppress(ValueError):
        url = parse_base_url(text)
        theirs, ours = URL(url), urlsplit(url)
        assert theirs.host == ours.hostname
        assert theirs.user is theirs.password is ours.username is None
        assert not theirs.query_string
        assert not theirs.fragment
        assert parse_base_url(url) == url
        if theirs.scheme != "https":
            assert ours.hostname == "localhost" or ipaddress.ip_address(ours.hostname or "").is_loopback
