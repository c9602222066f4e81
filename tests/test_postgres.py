"""PostgreSQL: addresses, schemas, roles, migrations, many logs, and what is refused before anything is done."""

import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

import hansard
from hansard import Event, HansardError, InvalidInput, NewerFormat, OlderFormat, OpenFailed, StoreNotFound, StoreReadOnly
from hansard.storage.postgres import schema
from hansard.storage.postgres.address import parse
from hansard.storage.postgres.connection import Database
from hansard.storage.postgres.schema import MIGRATIONS
from postgres_server import log_url, shared_url


def sql(statement: str, url: str | None = None) -> list[tuple[object, ...]]:
    with psycopg.connect(url or shared_url(), autocommit=True) as connection:
        cursor = connection.execute(statement)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def new_schema() -> Iterator[str]:
    """A name that no schema has."""
    name = f"s{uuid4().hex[:12]}"
    yield name
    sql(f"DROP SCHEMA IF EXISTS {name} CASCADE")


def in_schema(name: str, log: str = "main") -> str:
    return f"{shared_url()}?schema={name}&log={log}"


# Many logs


def test_logs_of_one_database_know_nothing_of_each_other(new_schema: str) -> None:
    """Two shops in one database would see each other's orders, or wait for each other's positions."""
    with hansard.open(in_schema(new_schema, "one")) as one, hansard.open(in_schema(new_schema, "two")) as two:
        event = Event("happened", 1, tags={"t"})
        one.append("a-1", [event])
        assert two.append("a-1", [event]).first_position == 1
        two.add("a-1", "happened", 2)
        assert (one.head(), two.head()) == (1, 2)
        assert [e.data for e in one.read(hansard.Query(tags={"t"}))] == [1]
        assert [e.data for e in two.all("a-1")] == [1, 2]
        one._storage.transact(lambda t: t.put("c", {"k": b"1"}))
        assert two._storage.get("c", ["k"]) == {}
        assert one.check() == two.check() == []
    found = sql(f"SELECT log, position, stream, type, data, time > '2020-01-01' FROM {new_schema}.events ORDER BY 1, 2")
    assert found == [("one", 1, "a-1", "happened", "1", True), ("two", 1, "a-1", "happened", "1", True),
                     ("two", 2, "a-1", "happened", "2", True)]  # fmt: skip


def test_names_at_their_limits_are_kept(tmp_path: Path) -> None:
    """An index entry of the database takes at most 2,704 bytes; longer names would be refused by the driver."""
    name = "\U0001f600" * 512
    with hansard.open(log_url(tmp_path)) as store:
        store.append(f"{name[:255]}-{name[:256]}", [Event(name, 1, tags={name})])
        store.append(name, [Event(name, 2)])
        assert [e.data for e in store.read(hansard.Query(types={name}))] == [1, 2]
        assert [e.data for e in store.read(hansard.Query(tags={name}))] == [1]
        store._storage.transact(lambda t: t.put(name, {name: b"1"}))
        assert store._storage.get(name, [name]) == {name: b"1"}
        assert store.check() == []


def test_check_finds_what_was_changed_by_hand(new_schema: str) -> None:
    """Damage would only be found by the customer whose order it was."""
    url, of = in_schema(new_schema), new_schema
    with hansard.open(url) as store:
        for _ in range(5):
            store.append("a-1", [Event("happened", 1, tags={"x", "y"})])
            store.append("b-1", [Event("happened", 1)])
        assert store.check() == []
    for change, undo, sentence in (
        (f"UPDATE {of}.log SET head = 11", f"UPDATE {of}.log SET head = 10", "the head is 11"),
        (f"UPDATE {of}.event SET version = 9 WHERE position = 1", f"UPDATE {of}.event SET version = 1 WHERE position = 1",
         "version 9 at position 1 is not the next one"),
        (f"UPDATE {of}.event SET timestamp = 1 WHERE position = 3",
         f"UPDATE {of}.event e SET timestamp = (SELECT timestamp FROM {of}.event WHERE position = 2) WHERE position = 3",
         "its time is before"),
        (f"UPDATE {of}.event SET data = '{{' WHERE position = 2", f"UPDATE {of}.event SET data = '1' WHERE position = 2",
         "position 2: data"),
        (f"DELETE FROM {of}.tag WHERE position = 1 AND tag = 'x'",
         f"INSERT INTO {of}.tag SELECT log, 'x', 1, kind, signature FROM {of}.tag WHERE position = 1",
         "tag 'x' is not in the index"),
        (f"UPDATE {of}.tag SET signature = 1 WHERE position = 1",
         f"UPDATE {of}.tag t SET signature = o.signature FROM {of}.tag o WHERE o.tag = t.tag AND o.position = t.position + 2",
         "the signature of tag"),
        (f"UPDATE {of}.kind SET category = 'z' WHERE category = 'a'", f"UPDATE {of}.kind SET category = 'a' WHERE category = 'z'",
         "is not that of stream"),
        (f"UPDATE {of}.event SET position = 12 WHERE position = 10", f"UPDATE {of}.event SET position = 10 WHERE position = 12",
         "no event at 10"),
    ):  # fmt: skip
        sql(change)
        with hansard.open(url, read_only=True) as store:
            problems = store.check()
            assert any(sentence in problem for problem in problems), (sentence, problems)
        sql(undo)
        with hansard.open(url, read_only=True) as store:
            assert store.check() == [], undo


# Migrations


def test_a_new_schema_is_made_by_many_at_once(new_schema: str) -> None:
    """The first programs of a new service would trip over each other."""
    failures: list[BaseException] = []
    barrier = threading.Barrier(6)
    urls = [in_schema(new_schema, f"log-{number}") for number in range(3)]

    def first(number: int) -> None:
        try:
            barrier.wait()
            with hansard.open(urls[number % 3]) as store:
                store.add("a-1", "happened")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=first, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sql(f"SELECT number FROM {new_schema}.migration ORDER BY 1") == [(n + 1,) for n in range(len(MIGRATIONS))]
    assert sql(f"SELECT name, head FROM {new_schema}.log ORDER BY 1") == [(f"log-{number}", 2) for number in range(3)]


def test_an_older_schema_is_refused_until_it_is_migrated(new_schema: str) -> None:
    """Opening a store would change a schema that other versions still use."""
    url = in_schema(new_schema)
    schema.migrate(Database(parse(url)), MIGRATIONS[:1])
    with pytest.raises(OlderFormat, match="the schema is at 1, this version needs 2; run: hansard migrate"):
        hansard.open(url)
    planned = hansard.migrate(url, plan=True)
    assert len(planned) == len(MIGRATIONS[1].statements) + 1
    assert all("CREATE TABLE" in statement or "INSERT INTO" in statement for statement in planned)
    with pytest.raises(OlderFormat):
        hansard.open(url, read_only=True)
    assert hansard.migrate(url) == planned
    assert hansard.migrate(url) == []
    with hansard.open(url) as store:
        assert store.add("a-1", "happened").position == 1


def test_a_newer_schema_is_refused(new_schema: str) -> None:
    """An old program would write what a newer one cannot read."""
    url = in_schema(new_schema)
    hansard.open(url).close()
    sql(f"INSERT INTO {new_schema}.migration (number, title) VALUES ({len(MIGRATIONS) + 1}, 'of the future')")
    for call in (lambda: hansard.open(url), lambda: hansard.migrate(url), lambda: hansard.migrate(url, plan=True)):
        with pytest.raises(NewerFormat, match="is newer than 2"):
            call()


def test_a_migration_that_fails_leaves_nothing(new_schema: str) -> None:
    """Half a schema could neither be used nor migrated."""
    bad = schema.Migration(3, "bad", ("CREATE TABLE {s}.half (n int8)", "nonsense"))
    url = in_schema(new_schema)
    hansard.open(url).close()
    with pytest.raises(psycopg.Error):
        schema.migrate(Database(parse(url)), (*MIGRATIONS, bad))
    assert sql(f"SELECT to_regclass('{new_schema}.half')") == [(None,)]
    with hansard.open(url) as store:
        store.add("a-1", "happened")


# Roles


@pytest.fixture
def roles(new_schema: str) -> Iterator[dict[str, str]]:
    """URLs of an owner, a writer, a reader and a stranger, each with no more than it needs."""
    names = {kind: f"{kind}_{new_schema}" for kind in ("owner", "writer", "reader", "stranger")}
    database = sql("SELECT current_database()")[0][0]
    for name in names.values():
        sql(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
    sql(f"GRANT CREATE ON DATABASE {database} TO {names['owner']}")
    urls = {kind: in_schema(new_schema).replace("postgres@", f"{name}:secret@") for kind, name in names.items()}
    hansard.migrate(urls["owner"], writer=names["writer"], reader=names["reader"])
    yield urls
    sql(f"DROP SCHEMA {new_schema} CASCADE")
    sql(f"REVOKE CREATE ON DATABASE {database} FROM {names['owner']}")
    for name in names.values():
        sql(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_a_writer_appends_and_reacts_and_changes_no_event(roles: dict[str, str], new_schema: str) -> None:
    """A program with a hole in it could rewrite history."""
    with hansard.open(roles["writer"]) as store:
        store.append("a-1", [Event("happened", 1, tags={"t"})])
        seen: list[int] = []
        store.catch_up(hansard.Processor("p", lambda event: seen.append(event.position)))
        store.catch_up(hansard.Projection("count", lambda n, event: n + 1, initial=0, key="all"))
        assert (seen, store.model("count")["all"], store.check()) == ([1], 1, [])
    for forbidden in (
        "UPDATE {s}.event SET data = '2'", "DELETE FROM {s}.event", "DELETE FROM {s}.tag", "TRUNCATE {s}.event",
        "UPDATE {s}.stream SET name = 'b-1'", "DELETE FROM {s}.log", "UPDATE {s}.log SET name = 'x'", "DROP TABLE {s}.event",
        "INSERT INTO {s}.migration VALUES (9, 'x')", "CREATE TABLE {s}.mine (n int8)",
    ):  # fmt: skip
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            sql(forbidden.replace("{s}", new_schema), roles["writer"].partition("?")[0])


def test_a_reader_reads(roles: dict[str, str]) -> None:
    """A report's login would need the right to write."""
    with hansard.open(roles["writer"]) as store:
        store.append("a-1", [Event("happened", 1)])
    with hansard.open(roles["reader"], read_only=True) as store:
        assert [event.data for event in store.all("a-1")] == [1]
        assert store.check() == []
        with pytest.raises(StoreReadOnly):
            store.add("a-1", "happened")
    with pytest.raises(StoreReadOnly, match="may not write here; open it with read_only=True"):
        hansard.open(roles["reader"])


def test_who_has_no_privileges_is_told(roles: dict[str, str]) -> None:
    """A missing grant would show as an error of the driver, at the first append."""
    for options in ({}, {"read_only": True}):
        with pytest.raises(HansardError, match=r"permission denied|may not"):
            hansard.open(roles["stranger"], **options)
    new = roles["stranger"].replace("schema=s", "schema=t")
    with pytest.raises(HansardError, match="permission denied for database"):
        hansard.open(new)
    with pytest.raises(InvalidInput, match="there is no such role"):
        hansard.migrate(roles["owner"], writer="nobody_of_this_name")


# What is refused


def refused(url: str, expected: type[Exception], words: str, **options: bool) -> None:
    with pytest.raises(expected) as caught:
        hansard.open(url, **options)
    assert words in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_wrong_address_is_one_clear_error() -> None:
    """A typing error would end in the driver's own words, or hang."""
    url = shared_url()
    refused("postgresql://me:secret@127.0.0.1:1/db", OpenFailed, "Connection refused")
    refused("postgresql://me:secret@no-such-host.invalid/db", OpenFailed, "no-such-host.invalid")
    refused(f"{url}_not_there", OpenFailed, "does not exist")
    refused(f"{url}?no_such_option=1", InvalidInput, "no_such_option")
    refused(f"{url}?schema=a%20b", InvalidInput, "schema")
    refused(f"{url}?log=", InvalidInput, "log")
    refused(f"{url}?log={'x' * 600}", InvalidInput, "log")
    refused(f"{url}#part", InvalidInput, "#")
    refused(f"{url}?schema=not_there", StoreNotFound, "no schema 'not_there'", read_only=True)
    refused(f"{url}?schema=not_there", StoreNotFound, "no schema 'not_there'", must_exist=True)


def test_a_log_that_is_not_there_is_not_made_by_those_who_only_read(new_schema: str) -> None:
    """A typing error in a log's name would be an empty log."""
    hansard.open(in_schema(new_schema)).close()
    refused(in_schema(new_schema, "ordres"), StoreNotFound, "no log 'ordres'", read_only=True)
    refused(in_schema(new_schema, "ordres"), StoreNotFound, "no log 'ordres'", must_exist=True)
    assert sql(f"SELECT name FROM {new_schema}.log") == [("main",)]


def test_a_wrong_password_is_named(new_schema: str, tmp_path: Path) -> None:
    """A wrong password would look like a server that is down."""
    from postgres_server import Server, run, temporary_folder

    folder = temporary_folder() / "data"
    password = folder.parent / "password"
    password.write_text("secret")
    password.chmod(0o644)
    run("initdb", "-D", str(folder), "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8", "--no-sync")
    server = Server(folder)
    server.password = "secret"
    server.start()
    try:
        refused(server.url().replace(":secret@", ":wrong-secret@"), OpenFailed, "password authentication failed")
        with hansard.open(server.url()) as store:
            assert store.add("a-1", "happened").position == 1
    finally:
        server.stop()


def test_a_server_or_an_encoding_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events would be stored by a server that lacks what their order needs."""
    monkeypatch.setattr("hansard.storage.postgres.connection.SERVER_VERSION_MIN", 990_000)
    refused(shared_url(), OpenFailed, "needs 99 or newer")
    monkeypatch.undo()
    name = f"latin_{uuid4().hex[:8]}"
    sql(f"CREATE DATABASE {name} ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
    refused(f"{shared_url().rpartition('/')[0]}/{name}", OpenFailed, "the database's encoding is LATIN1; needs UTF8")
    sql(f"DROP DATABASE {name}")


def test_a_users_sql_cannot_end_the_transaction(tmp_path: Path) -> None:
    """A handler's own COMMIT would tear its effects from its checkpoint."""
    with hansard.open(log_url(tmp_path)) as store:
        storage = store._storage
        for statement in ("COMMIT", "ROLLBACK", "COMMIT; BEGIN"):
            with pytest.raises(hansard.StoreUnusable, match="ended the transaction"):
                storage.transact(lambda t, s=statement: t.connection.execute(s) and None)
        for call in ("commit", "rollback"):
            with pytest.raises(hansard.StoreUnusable, match="commits its own"):
                storage.transact(lambda t, c=call: getattr(t.connection, c)())

        def swallow(transaction: hansard.storage.port.StorageTransaction) -> None:
            transaction.put("c", {"k": b"1"})
            with pytest.raises(psycopg.Error):
                transaction.connection.execute("nonsense")

        with pytest.raises(hansard.StorageFailed, match="nothing of it happens"):
            storage.transact(swallow)
        assert storage.get("c", ["k"]) == {}
        assert store.add("a-1", "happened").position == 1
