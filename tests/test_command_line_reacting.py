"""The commands about processors, projections, dead letters and timers, as a person and as a script use them."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import hansard
from hansard import Event, Timer
from places import DATABASES, database

COMMAND = [sys.executable, "-m", "hansard"]

APP = """
import hansard
from hansard import Processor, Projection, Query, Retry, DELETE

FAILS = {2}

def mail(event):
    if event.position in FAILS and event.stream == "order-1":
        raise ValueError("no address")

mailer = Processor("mailer", mail, query=Query(category="order"), on_failure="park", retry=Retry(attempts=1))
stopper = Processor("stopper", lambda event: 1 / 0, retry=Retry(attempts=1))

def totals(version, bonus=0, **options):
    projection = Projection("totals", version=version, initial=0, **options)

    @projection.on("placed")
    def placed(total, event):
        return total + event.data["amount"] + bonus

    return projection

first = [totals(1), mailer]
second = [totals(1), totals(2, bonus=1, switches_by_itself=False)]

def made():
    return [mailer]
"""


@pytest.fixture(params=DATABASES)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A store beside the module that reacts, in the folder of the test's commands."""
    (tmp_path / "shop.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    with database(request.param, tmp_path) as place:
        with hansard.open(place) as store:
            for number in range(6):
                store.add(f"order-{number % 3}", "placed", {"amount": number})
        yield place


def run(place: str, *arguments: str, code: int = 0) -> str:
    ran = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True)
    assert ran.returncode == code, ran.stderr
    assert "Traceback" not in ran.stderr
    return ran.stdout if code == 0 else ran.stderr


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_run_until_caught_up_and_look(place: str) -> None:
    """A cron job could not do the work, or nobody see what it has done."""
    out = run(place, "run", place, "--app", "shop:first", "--until-caught-up")
    assert "mailer: at 6 of 6" in out
    mailer, totals = lines(run(place, "readers", "list", place, "--json"))
    assert (mailer["name"], mailer["checkpoint"], mailer["lag"], mailer["dead_letters"]) == ("mailer", 6, 0, 2)
    assert (totals["name"], totals["kind"], totals["state"]) == ("totals@1", "projection", "idle")
    table = run(place, "readers", "list", place, "--table")
    assert "no address" in table
    (status,) = lines(run(place, "projections", "list", place, "--json"))
    assert (status["name"], status["active"], status["builds"][0]["reader"]["lag"]) == ("totals", "1", 0)
    assert "100 %" in run(place, "projections", "list", place, "--table")


def test_dead_letters_are_listed_shown_retried_and_discarded(place: str) -> None:
    """An operator could do nothing about a parked stream."""
    run(place, "run", place, "--app", "shop:first", "--until-caught-up")
    first, second = lines(run(place, "dead-letters", "list", place, "mailer", "--json"))
    assert (first["position"], first["sequence"], first["error"], first["attempts"]) == (
        2,
        "order-1",
        "ValueError: no address",
        1,
    )
    assert second["position"] == 5
    assert "no address" in run(place, "dead-letters", "list", place, "mailer", "--table")
    shown = json.loads(run(place, "dead-letters", "show", place, "mailer", "2", "--json"))
    assert (shown["letter"]["position"], shown["event"]["data"]) == (2, {"amount": 1})
    assert '{"amount":1}' in run(place, "dead-letters", "show", place, "mailer", "2", "--table")
    assert "will be tried again" in run(place, "dead-letters", "retry", place, "mailer", "order-1")
    run(place, "run", place, "--app", "shop:first", "--until-caught-up")
    assert lines(run(place, "dead-letters", "list", place, "mailer", "--json"))[0]["attempts"] == 2
    assert "1 letter discarded" in run(place, "dead-letters", "discard", place, "mailer", "order-1", "2")
    run(place, "dead-letters", "retry", place, "mailer", "--all")
    run(place, "run", place, "--app", "shop:made", "--until-caught-up")
    assert run(place, "dead-letters", "list", place, "mailer", "--json") == ""


def test_readers_are_paused_resumed_throttled_reset_and_forgotten(place: str) -> None:
    """A processor could only be controlled by its own program."""
    run(place, "run", place, "--app", "shop:first", "--until-caught-up")
    run(place, "readers", "pause", place, "mailer")
    assert lines(run(place, "readers", "list", place, "--json"))[0]["state"] == "paused"
    run(place, "readers", "resume", place, "mailer")
    run(place, "readers", "throttle", place, "mailer", "100")
    run(place, "readers", "throttle", place, "mailer")
    run(place, "readers", "reset", place, "mailer", "3")
    assert lines(run(place, "readers", "list", place, "--json"))[0]["checkpoint"] == 3
    run(place, "readers", "forget", place, "mailer")
    assert [reader["name"] for reader in lines(run(place, "readers", "list", place, "--json"))] == ["totals@1"]


def test_a_projection_is_rebuilt_compared_promoted_and_dropped(place: str) -> None:
    """A new version could only be tried by putting it into service."""
    run(place, "run", place, "--app", "shop:first", "--until-caught-up")
    run(place, "run", place, "--app", "shop:second", "--until-caught-up")
    differences = lines(run(place, "projections", "diff", place, "totals", "1", "2", "--json"))
    assert differences[0] == {"key": "order-0", "kind": "changed", "fields": {"": [3, 5]}}
    told = run(place, "projections", "diff", place, "totals", "1", "2", "--app", "shop:second", "--table")
    assert "0 added, 0 missing, 3 changed" in told
    assert "they part at position 1, key order-0: 0 → 1" in told
    assert "is not known" in run(place, "projections", "diff", place, "totals", "1", "2", "--app", "shop:first", "--table")
    run(place, "projections", "promote", place, "totals", "2")
    with hansard.open(place) as store:
        assert dict(store.model("totals").items()) == {"order-0": 5, "order-1": 7, "order-2": 9}
    run(place, "projections", "drop", place, "totals", "1")
    assert "build 2.1 begins" in run(place, "projections", "rebuild", place, "totals")
    assert "not begun" in run(place, "projections", "list", place, "--table")
    run(place, "run", place, "--app", "shop:second", "--until-caught-up")
    for order in ("pause", "resume", "throttle"):
        run(place, "projections", order, place, "totals", "2.1")
    run(place, "projections", "cancel", place, "totals", "2.1")
    assert [build["label"] for build in lines(run(place, "projections", "list", place))[0]["builds"]] == ["2"]


def test_timers_are_listed_cancelled_and_fired(place: str) -> None:
    """A deadline could not be looked at, or taken back."""
    with hansard.open(place) as store:
        store.timers.set(Timer("a", timedelta(0), "order-1", Event("due")))
        store.timers.set(Timer("b", timedelta(hours=1), "order-1", Event("due")))
    assert [info["name"] for info in lines(run(place, "timers", "list", place, "--json"))] == ["a", "b"]
    assert "order-1" in run(place, "timers", "list", place, "--table")
    assert "1 event stored" in run(place, "timers", "fire", place)
    run(place, "timers", "cancel", place, "b")
    assert "no timer of this name" in run(place, "timers", "cancel", place, "b", code=2)


def test_run_stays_live_until_it_is_interrupted(place: str) -> None:
    """A service would end by itself, or could not be stopped cleanly."""
    process = subprocess.Popen([*COMMAND, "run", place, "--app", "shop:first"], stderr=subprocess.PIPE, text=True)
    with hansard.open(place) as store:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                appended = store.append("order-9", Event("placed", {"amount": 1}))
                store.reader("mailer").wait_for(appended.last_position, 5)
                break
            except hansard.InvalidInput:
                time.sleep(0.05)
        assert store.reader("mailer").status().state == "running"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert store.reader("mailer").status().state == "idle"
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


def test_run_ends_when_a_processor_stops(place: str) -> None:
    """A service would seem to run while nothing is handled."""
    assert "'stopper' has stopped at position 1: ZeroDivisionError" in run(place, "run", place, "--app", "shop:stopper", code=4)
    assert "stopped at position 1" in run(place, "run", place, "--app", "shop:stopper", "--until-caught-up", code=4)
    assert lines(run(place, "readers", "list", place, "--json"))[0]["state"] == "stopped"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "PLACE", "--app", "nothing:here"], "nothing cannot be imported: ModuleNotFoundError"),
        (["run", "PLACE", "--app", "shop:nothing"], "shop has no nothing"),
        (["run", "PLACE", "--app", "shop"], "expected MODULE:NAME"),
        (["run", "PLACE", "--app", "shop:FAILS"], "expected a Processor"),
        (["run", "PLACE", "--app", "shop:first", "--threads", "0"], "threads"),
        (["readers", "pause", "PLACE", "nobody"], "no reader of this name"),
        (["readers", "reset", "PLACE", "mailer", "99"], "the log ends at 6"),
        (["readers", "throttle", "PLACE", "mailer", "0"], "more than 0"),
        (["dead-letters", "list", "PLACE", "nobody"], "no reader of this name"),
        (["dead-letters", "show", "PLACE", "mailer", "1"], "no dead letter there"),
        (["dead-letters", "retry", "PLACE", "mailer"], "give a sequence, or --all"),
        (["dead-letters", "retry", "PLACE", "mailer", "order-7"], "no dead letters of this sequence"),
        (["dead-letters", "discard", "PLACE", "mailer", "order-1", "3"], "no dead letter there"),
        (["projections", "rebuild", "PLACE", "nothing"], "no projection of this name; known are: totals"),
        (["projections", "rebuild", "PLACE", "totals", "--version", "9"], "had versions 1"),
        (["projections", "promote", "PLACE", "totals", "9"], "has builds 1"),
        (["projections", "drop", "PLACE", "totals", "1"], "it is the one that is read"),
        (["projections", "diff", "PLACE", "totals", "1", "2"], "has builds 1"),
    ],
)
@pytest.mark.parametrize("place", ["file"], indirect=True)  # what is bad is found before, or beyond, the engine
def test_bad_commands_get_one_line(place: str, arguments: list[str], words: str) -> None:
    """A person would get a traceback, or nothing."""
    run(place, "run", place, "--app", "shop:first", "--until-caught-up")
    error = run(place, *[place if argument == "PLACE" else argument for argument in arguments], code=2)
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["run", "--app", "shop:first"], ["readers", "list"], ["timers", "fire"], ["projections", "rebuild", "x"]]
)
def test_a_store_that_is_not_there_is_not_made(place: str, arguments: list[str]) -> None:
    """A typing error in a path would leave an empty store."""
    command = arguments[:1] if arguments[0] == "run" else arguments[:2]
    is_url = place.startswith("postgresql:")
    other, words = (place.replace("log=", "log=x"), "no log") if is_url else ("other.db", "there is no store here")
    for _ in range(2):
        assert words in run(place, *command, other, *arguments[len(command) :], code=5)
