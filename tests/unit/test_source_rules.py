"""Which URLs are sources, and which of them the operator's list allows."""

import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pushserve_server.domain.records import Trust
from pushserve_server.errors import BadInput, SourceRefused
from pushserve_server.settings import ConfigError, SourceRule
from pushserve_server.source.rules import (
    allowed_spelling,
    check_rules,
    find_rule,
    normalize_url,
)
from pushserve_server.source.spellings import same_repository
from pushserve_server.source.urls import parse_url, shown


@pytest.mark.parametrize(
    ("expected", "url"),
    [
        ("https://github.com/acme/iris.git", "https://github.com/acme/iris.git"),
        ("https://github.com/acme/iris", "HTTPS://GitHub.COM:443/acme/iris/"),
        ("https://github.com/acme/iris", "https://ada:hunter2@github.com/acme/iris"),
        ("https://github.com/acme/iris", "https://ghp_token@github.com/acme/iris//"),
        ("http://127.0.0.1:8000/iris.git", "http://127.0.0.1:8000/iris.git"),
        ("http://[::1]:8000/iris", "http://[::1]:8000/iris"),
        ("http://git_server/iris", "http://git_server:80/iris"),
        ("https://h/a-b/~c", "https://h/%61%2Db/%7ec"),
        ("https://h/My%20Project/_git/x", "https://h/My%20Project/_git/x"),
        ("https://h/caf%C3%A9", "https://h/café"),
        ("ssh://git@github.com/acme/iris", "ssh://git:pw@github.com:22/acme/iris"),
        ("git@github.com:acme/iris.git", "git@GITHUB.com:acme/iris.git"),
        ("file:///srv/git/iris.git", "file:///srv/git/iris.git/"),
        ("file:///srv/iris", "file://localhost/srv/iris"),
    ],
)
def test_urls_have_one_spelling(expected: str, url: str) -> None:
    """Scheme, host, port, userinfo and escapes are brought to one form."""
    assert expected == normalize_url(url)
    assert expected == normalize_url(expected)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "iris",
        "-oProxyCommand=touch /tmp/x",
        "--upload-pack=touch",
        "ext::sh -c touch% /tmp/x",
        "ext::https://github.com/acme/iris",
        "git://github.com/acme/iris",
        "ftp://github.com/acme/iris",
        "https://github.com",
        "https://github.com/",
        "https:///acme/iris",
        "https://-oProxyCommand=x/acme/iris",
        "ssh://-oProxyCommand=x/acme/iris",
        "ssh://-oProxyCommand=x@h/acme/iris",
        "git@-oProxyCommand=x:acme/iris",
        "git@github.com:-x",
        "git@github.com:/absolute",
        "github.com:acme/iris",
        "/srv/git/iris.git",
        "../iris",
        "https://github.com/acme/../evil/x",
        "https://github.com/acme/%2e%2e/evil/x",
        "https://github.com/acme/%2E./evil",
        "https://github.com/acme%2Fevil",
        "https://github.com/acme/x%5c..%5cy",
        "https://github.com/acme/x%00y",
        "https://github.com/acme/x%0ay",
        "https://github.com/acme//x",
        "https://github.com/acme/x y",
        "https://github.com/acme/x\n",
        "https://github.com/acme/x\u202e",
        "https://github.com\\@evil.com/x",
        "https://a@b@github.com/x",
        "https://github.com/acme/x?token=1",
        "https://github.com/acme/x#y",
        "https://github.com/acme/*",
        "https://github.com/acme/x%zz",
        "https://github.com:0/acme/x",
        "https://github.com:99999/acme/x",
        "https://gith\u00fcb.com/acme/x",
        "https://github..com/acme/x",
        "https://github.com./acme/x",
        "file://host/srv/x",
        "https://github.com/" + "x" * 2100,
    ],
)
def test_what_is_no_clone_url_is_refused(url: str) -> None:
    """Options, other transports and whatever can be read in two ways."""
    with pytest.raises(BadInput) as caught:
        normalize_url(url)
    assert "BAD_SOURCE_URL" == caught.value.code_reason
    assert "source" == caught.value.violations[0].field


def test_the_right_form_is_named() -> None:
    with pytest.raises(BadInput, match=r"write file:///srv/git/iris for a repository"):
        normalize_url("/srv/git/iris")
    with pytest.raises(BadInput, match=r"https://host/path, .* user@host:path or file:///"):
        normalize_url("ext::sh")


@pytest.mark.parametrize(
    ("matches", "pattern", "url"),
    [
        (True, "https://github.com/acme/*", "https://github.com/acme/iris"),
        (True, "https://github.com/acme/*", "https://GITHUB.com/acme/iris.git"),
        (True, "https://github.com/acme/*", "https://x:y@github.com:443/acme/iris/"),
        (True, "https://github.com/acme/iris", "https://github.com/acme/iris.git"),
        (True, "https://github.com/acme/iris.git", "https://github.com/acme/iris"),
        (True, "https://github.com/acme/model-*.git", "https://github.com/acme/model-iris"),
        (True, "https://github.com/**", "https://github.com/acme/group/iris"),
        (True, "https://*.example.com/*", "https://git.example.com/iris"),
        (True, "git@github.com:acme/*", "git@github.com:acme/iris.git"),
        (True, "file:///srv/git/**", "file:///srv/git/a/b.git"),
        (True, "http://127.0.0.1:8000/*", "http://127.0.0.1:8000/iris.git"),
        (False, "https://github.com/acme/*", "https://github.com/acme/group/iris"),
        (False, "https://github.com/acme/*", "https://github.com/acme"),
        (False, "https://github.com/acme/**", "https://github.com/acme"),
        (False, "https://github.com/acme/*", "https://github.com/acme2/iris"),
        (False, "https://github.com/acme/*", "https://github.com/Acme/iris"),
        (False, "https://github.com/acme/*", "http://github.com/acme/iris"),
        (False, "https://github.com/acme/*", "https://github.com:8443/acme/iris"),
        (False, "https://github.com/acme/*", "https://github.com.evil/acme/iris"),
        (False, "https://github.com/acme/*", "https://github.com@evil.com/acme/iris"),
        (False, "https://github.com/acme/*", "https://evil.com/github.com/acme/iris"),
        (False, "https://github.com/acme/*", "https://githubXcom/acme/iris"),
        (False, "https://*/acme/*", "https://evil.com/x/acme/iris"),
        (False, "https://*.example.com/*", "https://evil.com/.example.com/iris"),
        (False, "https://github.com/acme/iris", "https://github.com/acme/iris.git.git"),
        (False, "git@github.com:acme/*", "root@github.com:acme/iris"),
        (False, "git@github.com:acme/*", "ssh://git@github.com/acme/iris"),
        (False, "file:///srv/git/*", "file:///srv/git2/x"),
    ],
)
def test_patterns(matches: bool, pattern: str, url: str) -> None:
    """Both sides are compared in their canonical spelling."""
    rules = [SourceRule(url=pattern)]
    if matches:
        assert rules[0] == find_rule(url, rules)
    else:
        with pytest.raises(SourceRefused):
            find_rule(url, rules)


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/acme/../evil/x",
        "https://github.com/acme/%2e%2e/evil/x",
        "https://github.com/acme/..%2fevil",
        "https://github.com\\.evil.com/acme/x",
    ],
)
def test_an_ambiguous_url_matches_nothing(url: str) -> None:
    with pytest.raises(BadInput):
        find_rule(url, [SourceRule(url="https://github.com/acme/*")])


def test_the_first_rule_wins() -> None:
    first = SourceRule(url="https://github.com/acme/*", trust=Trust.CODE)
    second = SourceRule(url="https://github.com/acme/iris")
    assert first == find_rule("https://github.com/acme/iris", [first, second])
    assert second == find_rule("https://github.com/acme/iris", [second, first])


def test_a_refusal_holds_the_lines_that_list_the_source() -> None:
    """They are TOML, and hold no password."""
    with pytest.raises(SourceRefused) as caught:
        find_rule("https://ada:hunter2@Github.com/acme/iris.git", [])
    assert "SOURCE_NOT_ALLOWED" == caught.value.code_reason
    assert "hunter2" not in caught.value.message
    lines = caught.value.message.split("\n\n")[1]
    rules = [SourceRule(**rule) for rule in tomllib.loads(lines)["sources"]]
    assert Trust.DATA == find_rule("https://github.com/acme/iris", rules).trust


@pytest.mark.parametrize("pattern", ["iris", "https://**/x", "https://h/**/x", "https://h/x**"])
def test_a_rule_that_is_no_pattern_is_named(pattern: str) -> None:
    rules = [SourceRule(url="https://github.com/acme/*"), SourceRule(url=pattern)]
    with pytest.raises(ConfigError, match="sources: "):
        check_rules(rules)
    assert check_rules(rules[:1]) is None


@pytest.mark.parametrize(
    ("same", "one", "other"),
    [
        (True, "https://h/acme/iris", "https://H/acme/iris.git/"),
        (True, "https://h/acme/iris", "git@h:acme/iris.git"),
        (True, "https://h:8443/acme/iris", "ssh://git@h:2222/acme/iris"),
        (True, "ssh://git@h/acme/iris", "git@h:acme/iris.git"),
        (True, "http://h/acme/iris", "https://h/acme/iris"),
        (True, "https://github.com/Acme/Iris", "https://github.com/acme/iris"),
        (True, "org-7@github.com:acme/iris.git", "https://github.com/Acme/iris"),
        (True, "https://gitlab.com/A/b/C.git", "git@gitlab.com:a/B/c.git"),
        (False, "https://h/Acme/Iris", "https://h/acme/iris"),
        (False, "https://h:1/acme/iris", "https://h:2/acme/iris"),
        (False, "https://h/acme/iris", "https://g/acme/iris"),
        (False, "https://h/acme/iris", "https://h/acme/iris2"),
        (False, "ann@h:iris", "bob@h:iris"),
        (False, "ann@h:iris", "https://h/iris"),
        (False, "file:///srv/iris/.git", "file:///srv/iris"),
        (True, "file:///srv/iris.git", "file:///srv/iris"),
        (False, "file:///acme/iris", "https://h/acme/iris"),
    ],
)
def test_spellings_of_one_repository(same: bool, one: str, other: str) -> None:
    assert same is same_repository(parse_url(one), parse_url(other))
    assert same is same_repository(parse_url(other), parse_url(one))


@pytest.mark.parametrize(
    ("spelling", "listed", "asked"),
    [
        ("git@h:acme/iris.git", "git@h:acme/*", "https://h/acme/iris.git"),
        ("ssh://git@h:2222/acme/iris", "ssh://git@h:2222/**", "https://h/acme/iris"),
        ("https://h/acme/iris.git", "https://h/acme/*", "git@h:acme/iris.git"),
        ("https://h/acme/iris.git", "https://h/acme/*", "ssh://git@h/acme/iris.git"),
        ("https://h:8443/acme/iris", "https://h:8443/acme/*", "git@h:acme/iris"),
        ("https://h/acme/iris", "https://h/**", "https://h/acme/iris"),
    ],
)
def test_the_operator_lists_one_spelling_and_others_are_taken(
    spelling: str, listed: str, asked: str
) -> None:
    assert spelling == allowed_spelling(asked, [SourceRule(url=listed)])


@pytest.mark.parametrize(
    ("listed", "asked"),
    [
        ("git@h:acme/*", "https://g/acme/iris"),
        ("git@h:acme/*", "https://h/other/iris"),
        ("ann@h:*", "https://h/iris"),
        ("file:///srv/*", "https://h/srv/iris"),
        ("https://h/*", "file:///iris"),
        ("https://h:1/*", "https://h:2/iris"),
    ],
)
def test_another_repository_is_not_taken_for_a_listed_one(listed: str, asked: str) -> None:
    with pytest.raises(SourceRefused, match="is not in this server's list"):
        allowed_spelling(asked, [SourceRule(url=listed)])


def test_a_known_repository_keeps_its_spelling() -> None:
    rules = [SourceRule(url="https://github.com/**"), SourceRule(url="git@github.com:acme/*")]
    known = ["https://github.com/acme/iris2", "git@github.com:acme/iris.git"]
    assert known[1] == allowed_spelling("https://github.com/Acme/Iris", rules, known)
    assert known[0] == allowed_spelling("https://github.com/acme/iris2", rules, known)
    with pytest.raises(SourceRefused, match=r"git@github\.com:acme/iris\.git is not"):
        allowed_spelling("https://github.com/acme/iris", rules[:1], known)


@pytest.mark.parametrize(
    "url",
    [
        "https://ada:hunter2@h/ a",
        "https://ada:hun/ter2@h/x/../y",
        "ftp://hunter2@h/x",
        "https://h/x?private_token=hunter2",
        "hunter2@h",
    ],
)
def test_a_refused_url_is_shown_without_its_secrets(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        normalize_url(url)
    assert "hunter2" not in str(caught.value)
    assert "ter2" not in str(caught.value)


def test_messages_hold_nothing_unprintable() -> None:
    assert "a?[31mb?" == shown("a\x1b[31mb\u202e")
    assert 20 == len(shown("x" * 50, limit=20))


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_text_leaves_the_listed_folder(before: str, after: str) -> None:
    """Whatever matches is on that host, below that folder, and canonical."""
    url = f"https://{before}github.com/acme/{after}"
    try:
        find_rule(url, [SourceRule(url="https://github.com/acme/*")])
    except (BadInput, SourceRefused):
        return
    name = normalize_url(url).removeprefix("https://github.com/acme/")
    assert name
    assert "/" not in name
    assert ".." != name


@given(st.text())
@example("/")
def test_normalizing_is_idempotent(text: str) -> None:
    for prefix in ("https://h/", "git@h:", "file:///"):
        try:
            url = normalize_url(prefix + text)
        except BadInput:
            continue
        assert url == normalize_url(url)
