"""Who may do what on a served store, and what a browser is kept from."""

import json
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.request import Request

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import hansard
from hansard import AccessDenied, InvalidInput, NotAuthenticated, OpenFailed, Processor, Query
from hansard.server.access.administration import add_key, list_keys, revoke_key
from hansard.server.access.permissions import Grant, grants_of
from hansard.server.access.tokens import Tokens, _OnlyHttps
from hansard.server.settings import Settings, configured
from hansard.server.starting import check_safe, start
from hansard.storage.opening import open_storage
from servers import Client, served

LOCKED = Settings(authentication=True)
READ_ONLY_PAGES = ["/", "/projections", "/readers", "/timers", "/health", "/catalogue", "/streams", "/charts", "/problems"]
READ_ONLY_PAGES += ["/reference", "/event/1", "/event/1/graph", "/stream?name=order-1", "/travel?stream=order-1"]
READ_ONLY_PAGES += ["/?type=placed", "/api/v1/readers", "/api/v1/timers"]


@pytest.fixture
def place(tmp_path: Path) -> str:
    path = str(tmp_path / "log.db")
    with hansard.open(path) as store:
        store.add("order-1", "placed")
        store.add("customer-1", "created")
        store.add(None, "tagged", tags={"t"})
    return path


def client_with(url: str, key: str) -> Client:
    return Client(url, {"Authorization": f"Bearer {key}"})


# Keys


def test_without_a_key_only_health_is_told(place: str) -> None:
    """Everybody who reaches the server could read everything."""
    add_key(place, "admin", ["admin"], by="test")
    with served(open_storage(place), LOCKED) as url:
        for path in ("/api/v1/events", "/api/v1/head", "/api/v1/store", "/api/v1/readers", "/api/v1/streams/order-1"):
            answer = Client(url).get(path)
            assert (answer.status, answer.json["code"]) == (401, "not-authenticated")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        for header in ("Bearer", "Bearer hsk_nope", "Basic YTpi", "Bearer " + "x" * 5_000, "bearer "):
            assert Client(url, {"Authorization": header}).get("/api/v1/head").status == 401
        assert Client(url).get("/health/live").status == 200


def test_a_key_opens_what_it_allows_and_nothing_else(place: str) -> None:
    """A shop's front end could read the salaries."""
    reader = add_key(place, "reader", ["read:order*"], by="test")
    writer = add_key(place, "writer", ["append:order", "read:order"], by="test")
    with served(open_storage(place), LOCKED) as url:
        read, write = client_with(url, reader), client_with(url, writer)
        assert read.get("/api/v1/events?category=order").status == 200
        assert read.get("/api/v1/streams/order-1/events").status == 200
        assert read.get("/api/v1/streams?category=order").status == 200
        for path in ("/api/v1/events", "/api/v1/events?category=customer", "/api/v1/events?tag=t", "/api/v1/streams",
                     "/api/v1/streams/customer-1", "/api/v1/streams/customer-1/events", "/api/v1/readers"):  # fmt: skip
            assert read.get(path).status == 403, path
        assert read.post("/api/v1/streams/order-1/events", {"type": "x"}).status == 403
        assert write.post("/api/v1/streams/order-1/events", {"type": "x"}).status == 201
        assert write.post("/api/v1/streams/orders-1/events", {"type": "x"}).status == 403
        many = {
            "appends": [{"stream": "order-1", "events": [{"type": "x"}]}, {"stream": "customer-1", "events": [{"type": "x"}]}]
        }
        assert write.post("/api/v1/events", many).status == 403
        assert write.post("/api/v1/events", {"appends": [{"events": [{"type": "x"}]}]}).status == 403
        spying = {"appends": [{"stream": "order-1", "events": [{"type": "x"}]}], "condition": {"fail_if": {"items": [{}]}}}
        assert write.post("/api/v1/events", spying).status == 403, "a condition would tell what may not be read"
        for path in ("/api/v1/transactions", "/api/v1/documents/scan"):
            assert write.post(path, {"collection": "x"} if "scan" in path else {}).status == 403
        assert write.post("/api/v1/readers/x/pause").status == 403


def test_single_events_are_not_told_to_whom_they_do_not_concern(place: str) -> None:
    """Ids from a log file would open any event."""
    with hansard.open(place) as store:
        ids = {event.stream: event.id for event in store.read()}
    key = add_key(place, "reader", ["read:order"], by="test")
    with served(open_storage(place), LOCKED) as url:
        client = client_with(url, key)
        assert client.get(f"/api/v1/events/{ids['order-1']}").status == 200
        assert client.get(f"/api/v1/events/{ids['customer-1']}").status == 403
        assert client.post("/api/v1/events/by-id", {"ids": [str(ids[None])]}).status == 403


def test_keys_are_hashed_expire_and_are_revoked(place: str, tmp_path: Path) -> None:
    """A copy of the file would be a copy of all keys; one that was lost would open the store for ever."""
    key = add_key(place, "one", ["read"], by="jo")
    short = add_key(place, "short", ["read"], by="jo", days=1e-9)
    assert not any(key.encode() in file.read_bytes() for file in tmp_path.iterdir())
    assert {(k.name, key.startswith(k.id)) for k in list_keys(place)} == {("one", True), ("short", False)}
    with pytest.raises(InvalidInput, match="there is a key of this name"):
        add_key(place, "one", ["read"], by="jo")
    with served(open_storage(place), LOCKED) as url:
        assert client_with(url, key).get("/api/v1/head").status == 200
        assert client_with(url, short).get("/api/v1/head").status == 401
    revoke_key(place, "one", by="jo")
    with served(open_storage(place), LOCKED) as url:
        assert client_with(url, key).get("/api/v1/head").status == 401
    with hansard.open(place) as store:
        noted = [(e.type, e.data["target"], e.data["by"]) for e in store.all("hansard.audit")]
    assert noted == [("hansard.key-made", "one", "jo"), ("hansard.key-made", "short", "jo"), ("hansard.key-revoked", "one", "jo")]


def test_a_running_server_learns_of_new_and_revoked_keys(place: str) -> None:
    """A revoked key would work until the next restart."""
    first = add_key(place, "first", ["read"], by="test")
    command = [sys.executable, "-m", "hansard", "serve", place, "--authentication", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        url = next(line for line in server.stderr if line.startswith("Serving")).split()[-1]
        try:
            assert client_with(url, first).get("/api/v1/head").status == 200
            second = add_key(place, "second", ["read"], by="test")
            revoke_key(place, "first", by="test")
            deadline = time.monotonic() + 20
            while (client_with(url, first).get("/api/v1/head").status, client_with(url, second).get("/api/v1/head").status) != (
                401,
                200,
            ):
                assert time.monotonic() < deadline
                time.sleep(0.1)
        finally:
            server.terminate()


def test_a_remote_store_gives_its_key_and_learns_what_it_may_not(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python programs could not use a server that asks for keys."""
    key = add_key(place, "reader", ["read"], by="test")
    with served(open_storage(place), LOCKED) as url:
        with pytest.raises(NotAuthenticated, match="give a key"):
            hansard.open(url)
        with hansard.open(url.replace("http://", f"http://:{key}@")) as store:
            assert store.head() == 4
            with pytest.raises(AccessDenied, match="reader has no permission to append"):
                store.add("order-1", "x")
            assert key not in store.durability
            with pytest.raises(AccessDenied):
                store.catch_up(Processor("p", print))
        monkeypatch.setenv("HANSARD_KEY", key)
        with hansard.open(url) as store:
            assert len(list(store.read(Query(category="order")))) == 1


# Tokens


@pytest.fixture
def issuer(tmp_path: Path) -> Any:
    """Signs tokens as a real issuer does."""
    private = ec.generate_private_key(ec.SECP256R1())
    other = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(private.public_key()))
    key_set = tmp_path / "jwks.json"
    key_set.write_text(json.dumps({"keys": [{**public, "kid": "k1", "alg": "ES256", "use": "sig"}]}))

    class Issuer:
        settings = Settings(authentication=True, jwt_jwks=str(key_set), jwt_audience="hansard", jwt_issuer="https://id.example")

        def token(self, *, key: Any = private, algorithm: str = "ES256", kid: str = "k1", **claims: Any) -> str:
            body = {"sub": "jo", "aud": "hansard", "iss": "https://id.example", "exp": time.time() + 60, "scope": "read:order"}
            body = {name: value for name, value in {**body, **claims}.items() if value is not None}
            return jwt.encode(body, key, algorithm=algorithm, headers={"kid": kid})

    Issuer.other = other  # type: ignore[attr-defined]
    return Issuer()


def test_tokens_are_checked_in_every_respect(place: str, issuer: Any) -> None:
    """A token for another program, an old one, or one that anybody can make would open the store."""
    with served(open_storage(place), issuer.settings) as url:

        def status(token: str, path: str = "/api/v1/events?category=order") -> int:
            return client_with(url, token).get(path).status

        assert status(issuer.token()) == 200
        assert status(issuer.token(), "/api/v1/events?category=customer") == 403
        assert status(issuer.token(scope=None, permissions=["read"]), "/api/v1/events") == 200
        for claims in ({"aud": "other"}, {"aud": None}, {"exp": time.time() - 60}, {"exp": None}, {"iss": "https://evil.example"},
                       {"iss": None}, {"sub": None}, {"scope": ""}, {"scope": "everything"}, {"nbf": time.time() + 600},
                       {"kid": "k2"}, {"key": issuer.other}):  # fmt: skip
            assert status(issuer.token(**claims)) == 401, claims
        unsigned = jwt.encode({"sub": "jo", "aud": "hansard", "exp": time.time() + 60, "scope": "read"}, None, algorithm="none")
        by_secret = jwt.encode(
            {"sub": "jo", "aud": "hansard", "exp": time.time() + 60, "scope": "read"}, "k" * 40, headers={"kid": "k1"}
        )
        assert [status(token) for token in (unsigned, by_secret, "a.b.c", "é")] == [401] * 4


def test_tokens_of_ordinary_issuers_are_taken(place: str, issuer: Any) -> None:
    """Their scopes speak of other things, too, and some call them by another name."""
    with served(open_storage(place), issuer.settings) as url:
        for claims in (
            {"scope": "openid profile email read:order"},
            {"scope": None, "scp": ["openid", "read:order"]},
            {"scope": "openid", "scp": "read:order"},
            {"scope": "openid read:user-profile admin:org-1 read:order"},
        ):
            client = client_with(url, issuer.token(**claims))
            assert [client.get(f"/api/v1/events?category={name}").status for name in ("order", "customer")] == [200, 403]


def test_new_keys_of_an_issuer_are_looked_up_when_they_are_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change of keys nobody could come in for minutes."""
    private = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(private.public_key()))
    path = tmp_path / "jwks.json"
    monkeypatch.setattr("hansard.server.access.tokens._REFRESH_WHEN_WANTING_S", 0.0)
    path.write_text(json.dumps({"keys": [{**public, "kid": "old", "alg": "ES256"}]}))
    tokens = Tokens(str(path), audience="hansard", issuer=None)
    tokens.refresh()
    path.write_text(json.dumps({"keys": [{**public, "kid": "new", "alg": "ES256"}]}))
    body = {"sub": "jo", "aud": "hansard", "exp": time.time() + 60, "scope": "read"}
    token = jwt.encode(body, private, algorithm="ES256", headers={"kid": "new"})
    assert not tokens.is_old
    with pytest.raises(hansard.NotAuthenticated, match="does not have"):
        tokens.principal(token)
    assert tokens.is_old
    tokens.refresh()
    assert tokens.principal(token).name == "jo"
    assert not tokens.is_old


def test_a_key_set_that_cannot_be_read_is_not_asked_for_all_the_time(tmp_path: Path) -> None:
    """A server of keys that is away would be asked every second, by every server."""
    tokens = Tokens(str(tmp_path / "none.json"), audience="hansard", issuer=None)
    assert tokens.is_old
    with pytest.raises(OpenFailed):
        tokens.refresh()
    assert not tokens.is_old


def test_a_key_set_comes_by_https_to_the_end() -> None:
    """A redirect would lead to where anybody on the way can give keys of their own."""
    handler = _OnlyHttps()
    request = Request("https://id.example/keys")
    with pytest.raises(OSError, match="which is not https"):
        handler.redirect_request(request, None, 302, "Found", {}, "http://evil.example/keys")
    assert handler.redirect_request(request, None, 302, "Found", {}, "https://id.example/new").full_url.endswith("/new")


def test_a_key_set_is_asked_for_on_this_machine_too(place: str, issuer: Any) -> None:
    """Behind a proxy the store would stand open to everybody, and nothing would say so."""
    settings = Settings(jwt_jwks=issuer.settings.jwt_jwks, jwt_audience="hansard", jwt_issuer="https://id.example")
    with served(open_storage(place), settings) as url:
        assert Client(url).get("/api/v1/head").status == 401
        assert client_with(url, issuer.token(scope="read")).get("/api/v1/head").status == 200


def test_states_of_read_models_are_for_whoever_may_read(place: str) -> None:
    """What readers keep of themselves is no secret from one that subscribes; what they have found out is."""
    subscriber, reader = (add_key(place, name, [name], by="test") for name in ("subscribe", "read"))
    both = add_key(place, "both", ["read", "subscribe"], by="test")
    with hansard.open(place) as store:
        store.catch_up(hansard.Projection("pins", lambda n, event: n + 1, initial=0))
    with served(open_storage(place), LOCKED) as url:

        def status(key: str, collection: str, verb: str, **asked: Any) -> int:
            return client_with(url, key).post(f"/api/v1/documents/{verb}", {"collection": collection, **asked}).status

        for verb, asked in (("scan", {}), ("get", {"keys": ["order-1"]})):
            assert [status(key, "model/pins@1", verb, **asked) for key in (subscriber, reader, both)] == [403, 403, 200]
            assert [status(key, "reader", verb, **asked) for key in (subscriber, reader, both)] == [200, 403, 200]


# What is not let out


def test_other_addresses_need_tls_and_authentication_or_plain_words() -> None:
    """A store would stand open to the network because somebody wrote 0.0.0.0."""
    check_safe(Settings())
    check_safe(Settings(host="::1"))
    for settings in (Settings(host="0.0.0.0"), Settings(host="192.168.1.5", authentication=True), Settings(host="shop.example")):
        with pytest.raises(InvalidInput, match="without TLS"):
            check_safe(settings)
    with pytest.raises(InvalidInput, match="without authentication"):
        check_safe(Settings(host="0.0.0.0", tls_certificate="c", tls_key="k", authentication=False))
    check_safe(Settings(host="0.0.0.0", allow_insecure=True))
    check_safe(Settings(host="0.0.0.0", tls_certificate="c", tls_key="k"))


def test_a_server_that_nobody_can_use_does_not_start(place: str) -> None:
    """An operator would look for the fault elsewhere."""
    with pytest.raises(InvalidInput, match="nobody could come in"):
        start(place, LOCKED, on_started=lambda url: None)
    with pytest.raises(InvalidInput, match="tls_key: '/nowhere': there is no such file"):
        start(place, Settings(tls_certificate=__file__, tls_key="/nowhere"), on_started=lambda url: None)
    for days in (float("nan"), 0, 36_501):
        with pytest.raises(InvalidInput, match=r"days: .*at most 36500"):
            add_key(place, "odd", ["read"], by="test", days=days)
    for wrong in ({"slow_ms": -5.0}, {"slow_ms": float("nan")}, {"rate_per_s": float("nan")}):
        with pytest.raises(InvalidInput, match=next(iter(wrong))):
            Settings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="expected https"):
        start(place, Settings(jwt_jwks="http://id.example/keys", jwt_audience="a"), on_started=lambda url: None)
    with pytest.raises(OpenFailed, match="not a key set"):
        start(place, Settings(authentication=True, jwt_jwks="/nowhere", jwt_audience="a"), on_started=lambda url: None)


def test_pages_of_other_sites_change_nothing(place: str) -> None:
    """A page that somebody visits could append to the store on their machine."""
    with served(open_storage(place)) as url:
        client = Client(url)
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"},
                        {"Sec-Fetch-Site": "same-site", "Origin": url}):  # fmt: skip
            assert client.post("/api/v1/streams/order-1/events", {"type": "x"}, headers).status == 403
            assert client.ask("POST", "/readers/x", b"do=pause", headers).status == 403
        assert client.post("/api/v1/streams/order-1/events", {"type": "x"}, {"Origin": url}).status == 201
        for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example"):
            assert client.get("/api/v1/head", {"Host": host}).status == 403, "a name that was pointed at this machine"
        assert client.get("/api/v1/head", {"Host": "localhost:1"}).status == 200
    with served(open_storage(place), Settings(allowed_hosts=("shop.example",))) as url:
        assert Client(url).get("/api/v1/head", {"Host": "shop.example"}).status == 200


def test_every_page_forbids_scripts_frames_and_sniffing(place: str) -> None:
    """What an event says could run in the browser of whoever looks at it."""
    with hansard.open(place) as store:
        store.add('a-"><script>alert(1)</script>', "<img src=x onerror=alert(1)>", {"<b>": "</script><script>alert(2)</script>"})
    with served(open_storage(place)) as url:
        for path in (
            "/",
            "/event/4",
            "/stream?name=a-%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E",
            "/nowhere",
            "/login",
            "/charts",
        ):
            answer = Client(url).get(path, {"Accept": "text/html"})
            policy = answer.headers["content-security-policy"]
            assert "script-src 'self'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert (answer.headers["x-frame-options"], answer.headers["x-content-type-options"]) == ("DENY", "nosniff")
            assert b"<script>alert" not in answer.body
            assert b"<img src=x" not in answer.body


def test_no_header_and_no_redirect_can_be_made_up(place: str) -> None:
    """A link could set a cookie, or lead to another site after signing in."""
    key = add_key(place, "admin", ["admin"], by="test")
    with served(open_storage(place), LOCKED) as url:
        for target in (
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/x%0d%0aSet-Cookie:a=b",
            "javascript:alert(1)",
        ):
            body = f"key={key}&next={target}".encode()
            answer = Client(url).ask("POST", "/login", body, {"Content-Type": "application/x-www-form-urlencoded"})
            assert (answer.status, answer.headers["location"]) == (303, "/"), target
            assert "a=b" not in answer.headers["set-cookie"]


def test_a_session_begins_with_a_key_and_ends_with_it(place: str) -> None:
    """A cookie would be worth more than the key behind it."""
    key = add_key(place, "reader", ["read"], by="test")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    with served(open_storage(place), LOCKED) as url:
        client = Client(url)
        away = client.get("/?type=x", {"Accept": "text/html"})
        assert (away.status, away.headers["location"]) == (303, "/login?next=%2F%3Ftype%3Dx")
        assert client.ask("POST", "/login", b"key=hsk_wrong", form).status == 401
        answer = client.ask("POST", "/login", f"key={key}&next=/charts".encode(), form)
        cookie, *marks = answer.headers["set-cookie"].split("; ")
        assert {"HttpOnly", "SameSite=Strict"} <= set(marks)
        assert key not in cookie
        assert answer.headers["location"] == "/charts"
        assert client.get("/", {"Cookie": cookie}).status == 200
        assert client.ask("POST", "/readers/x", b"do=pause", {**form, "Cookie": cookie}).status == 403
        assert client.ask("POST", "/logout", b"", {**form, "Cookie": cookie}).status == 303
        assert client.get("/", {"Cookie": cookie, "Accept": "text/html"}).status == 303


def test_each_client_has_a_rate_of_its_own_and_probes_have_none(place: str) -> None:
    """One client would use up everybody's, and the machine would be taken for dead."""
    settings = Settings(rate_per_s=5, host="0.0.0.0", allow_insecure=True)
    with served(open_storage(place), settings) as url:
        port = url.rpartition(":")[2]

        def status(source: str, path: str) -> int:
            connection = HTTPConnection("127.0.0.1", int(port), source_address=(source, 0))
            connection.request("GET", path)
            found = connection.getresponse().status
            connection.close()
            return found

        assert 429 in [status("127.0.0.1", "/api/v1/head") for _ in range(30)]
        assert status("127.0.0.2", "/api/v1/head") == 200
        assert [status("127.0.0.1", "/health/live") for _ in range(20)] == [200] * 20


def test_a_server_is_asked_by_its_address_and_its_names(place: str) -> None:
    """Probes ask by address; a name that somebody has pointed here opens nothing."""
    settings = Settings(host="0.0.0.0", allow_insecure=True, allowed_hosts=("shop.example",))
    for found, hosts in (
        (
            settings,
            {"shop.example": 200, "localhost": 200, "127.0.0.1": 200, "10.1.2.3:80": 200, "[::1]": 200, "evil.example": 403},
        ),
        (Settings(), {"localhost": 200, "127.0.0.1": 200, "10.1.2.3": 403, "evil.example": 403}),
    ):
        with served(open_storage(place), found) as url:
            assert {host: Client(url, {"Host": host}).get("/health/live").status for host in hosts} == hosts


def test_a_client_that_asks_too_often_is_sent_away(place: str) -> None:
    """One client in a loop would take the server from all others."""
    with served(open_storage(place), Settings(rate_per_s=5)) as url:
        answers = [Client(url).get("/api/v1/head") for _ in range(30)]
        away = [answer for answer in answers if answer.status == 429]
        assert 10 <= len(away) < 30
        assert away[0].headers["retry-after"] == "1"
        with hansard.open(url) as store:
            assert [store.head() for _ in range(5)] == [3] * 5, "a remote store waits its turn"


def test_a_read_only_server_changes_nothing(place: str) -> None:
    """A look at a store could change it."""
    with served(open_storage(place, read_only=True), Settings(read_only=True)) as url:
        client = Client(url)
        assert client.get("/api/v1/events").status == 200
        assert client.post("/api/v1/streams/order-1/events", {"type": "x"}).status == 403
        assert client.get("/", {"Accept": "text/html"}).status == 200
        for path in READ_ONLY_PAGES:
            assert client.get(path, {"Accept": "text/html" if path[:4] != "/api" else "*/*"}).status == 200, path
        assert client.post("/api/v1/groups/g/consumers", {}).status == 403
        with hansard.open(url) as store:
            assert list(store.readers()) == []
            with pytest.raises(hansard.StoreReadOnly):
                store.add("order-1", "x")
            with pytest.raises(hansard.StoreReadOnly):
                store.catch_up(hansard.Processor("p", lambda event: None))


# Settings


def test_settings_come_from_file_environment_and_flags_in_this_order(tmp_path: Path) -> None:
    """An operator could not tell which of three ports is used."""
    file = tmp_path / "hansard.toml"
    file.write_text('port = 1\nhost = "::1"\nslow_ms = 7\nallowed_hosts = ["a"]\n')
    found = configured(str(file), {"HANSARD_PORT": "2", "HANSARD_SLOW_MS": "8", "HANSARD_KEY": "x"}, {"port": 3, "host": None})
    assert (found.settings.port, found.settings.slow_ms, found.settings.host) == (3, 8.0, "::1")
    assert [found.sources[name] for name in ("port", "slow_ms", "host", "jwt_issuer")] == [
        "flag",
        "environment",
        "file",
        "default",
    ]
    for text, told in (
        ("prot = 1", "prot"),
        ("port = 70000", "port"),
        ('port = "1"', "port"),
        ("port = ", "TOML"),
        ('log_format = "x"', "log_format"),
    ):
        file.write_text(text)
        with pytest.raises(InvalidInput, match=told):
            configured(str(file), {}, {})
    with pytest.raises(InvalidInput, match="from the environment"):
        configured(None, {"HANSARD_PORT": "many"}, {})


@pytest.mark.parametrize("text", ["", "reed", "read:", "read:a-b", "admin:order", "append:order-1"])
def test_permissions_that_mean_nothing_are_refused(text: str) -> None:
    """A key would allow less, or more, than its maker thinks."""
    with pytest.raises(InvalidInput):
        Grant.parse(text)
    with pytest.raises(InvalidInput):
        grants_of([])


def test_a_key_for_one_category_learns_nothing_of_others_by_the_side_doors(place: str) -> None:
    """Names, counts and errors of what somebody may not read would stand in lists, figures and dead letters."""
    key = add_key(place, "orders", ["read:order*", "append:order*", "subscribe:order*"], by="test")
    other = add_key(place, "others", ["admin"], by="test")
    with served(open_storage(place), LOCKED) as url:
        client, admin = client_with(url, key), client_with(url, other)
        interface = ("readers", "readers/x", "readers/x/dead-letters", "projections", "timers")
        pages = ("/metrics", "/readers", "/projections", "/timers", "/charts", "/streams", "/")
        for path in (*(f"/api/v1/{name}" for name in interface), *pages):
            assert client.get(path).status == 403, path
        timer = {"due": "2030-01-01T00:00:00Z", "stream": "order-1", "event": {"type": "x"}}
        assert client.ask("PUT", "/api/v1/timers/pay", json.dumps(timer).encode()).status == 403
        group = "/api/v1/groups/billing/consumers"
        assert client.post(group, {}).status == 403
        consumer = admin.post(group, {"partitions": 1}).json["consumer"]
        assert client.post(f"{group}/{consumer}/take", {}).status == 403, "a consumer belongs to whoever has joined as it"
        own = client.post("/api/v1/groups/own/consumers", {"query": {"items": [{"category": "order"}]}}).json["consumer"]
        assert client.post(f"/api/v1/groups/own/consumers/{own}/take", {"wait_s": 5}).json["events"][0]["stream"] == "order-1"


def test_the_audit_is_written_by_the_server_alone(place: str) -> None:
    """Whoever has done something could write that somebody else has."""
    key = add_key(place, "all", ["read", "append", "subscribe"], by="test")
    with served(open_storage(place), LOCKED) as url:
        client = client_with(url, key)
        append = {"appends": [{"stream": "hansard.audit", "events": [{"type": "hansard.key-revoked"}]}]}
        assert client.post("/api/v1/streams/hansard.audit/events", {"type": "x"}).status == 403
        assert client.post("/api/v1/events", append).status == 403
        step = {"steps": [{"do": "append", "append": append}], "then": "commit"}
        assert client.post("/api/v1/transactions", step).status == 403
        timer = {"due": "2030-01-01T00:00:00Z", "stream": "hansard.audit", "event": {"type": "x"}}
        assert client.ask("PUT", "/api/v1/timers/t", json.dumps(timer).encode()).status == 403


def test_guessing_is_limited_and_odd_headers_are_no_failure(place: str) -> None:
    """Keys could be tried at any rate, or a malformed header make the server log a traceback for each request."""
    add_key(place, "admin", ["admin"], by="test")
    with served(open_storage(place), Settings(authentication=True, rate_per_s=5)) as url:
        statuses = [Client(url, {"Authorization": "Bearer hsk_wrong"}).get("/api/v1/head").status for _ in range(30)]
        assert statuses[0] == 401
        assert statuses[-1] == 429
    with served(open_storage(place), LOCKED) as url:
        assert Client(url).get(f"/?x={'y' * 17_000}", {"Accept": "text/html"}).headers["location"] == "/login?next=%2F"
        assert Client(url).ask("POST", "/login", b"", {"Origin": "http://["}).status == 403
    with served(open_storage(place)) as url:
        client = Client(url)
        assert client.get("/api/v1/events", {"Last-Event-ID": "9" * 5_000}).status == 400
        for path in ("/?position=99999999999999999999", "/?before=-1", "/?at=never"):
            assert client.get(path, {"Accept": "text/html"}).status == 400, path
        assert client.get("/?position=9223372036854775807", {"Accept": "text/html"}).status == 200
