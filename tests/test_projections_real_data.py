"""Real logs come out of projections with the figures that others have computed: live, inline, async, and rebuilt under kills."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hansard
import real_projections
from hansard import InvalidInput, Projection, Store
from hansard.interchange import Mapping, import_log

DATA = Path(os.environ.get("HANSARD_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"there are no real logs at {DATA}; set HANSARD_TEST_DATA to the folder that has them"
)

LOGS: dict[str, tuple[str, Mapping, str]] = {
    "bpic2012": ("bpic2012.xes.gz", Mapping(stream="{concept:name}", type="{concept:name}"), "of_cases"),
    "wikiticker": (
        "wikiticker-2015-09-12-sampled.json.gz",
        Mapping(stream="{channel} {page}", type="{namespace}", time="{time}"),
        "of_wikipedia",
    ),
    "gharchive": (
        "gharchive-2021-07-21-few-hours.json",
        Mapping(stream="{repo.name}", type="{type}", time="{created_at}", id="{id}"),
        "projections",
    ),
    "octokit_webhooks": (
        "octokit-webhooks-payload-examples.tar.gz",
        Mapping(
            stream="{repository.full_name}|{organization.login}|(none)",
            type="{:folder}.{action}|{:folder}",
            id="{:path}",
            tags=["path:{:path}"],
        ),
        "projections",
    ),
}

Models = dict[str, dict[str, Any]]


def models(store: Store, projections: list[Projection]) -> Models:
    return {projection.name: dict(store.model(projection.name).items()) for projection in projections}


def rebuild_under_kills(path: Path, store: Store, module_function: str, projections: list[Projection]) -> None:
    """Build all anew in a process that is killed twice on its way."""
    labels = {projection.name: store.projection(projection.name).rebuild() for projection in projections}
    command = [sys.executable, str(Path(__file__).parent / "real_projections.py"), str(path), module_function]
    name, label = next(iter(labels.items()))
    for _ in range(2):
        before = reached(store, name, label)
        process = subprocess.Popen(command)
        while reached(store, name, label) == before and process.poll() is None:
            time.sleep(0.002)
        process.kill()
        process.wait(60)
    subprocess.run(command, check=True, timeout=100)
    for name, label in labels.items():
        assert store.model(name).build == label


def reached(store: Store, name: str, label: str) -> int:
    try:
        return store.projection(name).reader(label).status().checkpoint
    except InvalidInput:
        return 0


@pytest.mark.parametrize("log", LOGS)
def test_a_real_log_gives_its_figures_in_every_way(log: str, tmp_path: Path) -> None:
    """A read model would depend on how it is run, or not be what the log says."""
    file, mapping, definitions = LOGS[log]
    make: Callable[[], list[Projection]] = getattr(real_projections, definitions)
    projections = make()
    with hansard.open(tmp_path / "log.db", durability="page-cache") as store:
        assert import_log(store, DATA / file, mapping=mapping, rejects=tmp_path / "rejects").rejected == 0
        live = {projection.name: store.project(projection) for projection in projections}
        figures = json.loads((DATA / "truth" / f"{log}.json").read_text())
        check(log, live, figures)
        store.catch_up(*projections)
        assert models(store, projections) == live
        rebuild_under_kills(tmp_path / "log.db", store, definitions, projections)
        assert models(store, projections) == live
        with hansard.open(tmp_path / "inline.db", durability="page-cache") as inline:
            inline.inline(*make())
            batch = []
            for event in store.read():
                batch.append(event)
                if len(batch) == 1_000:
                    inline.restore(batch)
                    batch = []
            inline.restore(batch)
            assert models(inline, projections) == live


def check(log: str, found: Models, figures: dict[str, Any]) -> None:
    streams, counted = found["followed"], found["counted"]["all"]
    page = figures["stream_is_page"] if log == "wikiticker" else figures
    assert counted["types"] == page["count_per_type"]
    check_streams(streams, page)
    globals()[f"check_{log}"](found, figures, counted)


def check_streams(streams: dict[str, Any], figures: dict[str, Any]) -> None:
    assert (len(streams), sum(state["length"] for state in streams.values())) == (figures["streams"], figures["events"])
    assert max(state["length"] for state in streams.values()) == figures["stream_length"]["max"]
    pairs: Counter[str] = Counter()
    for state in streams.values():
        pairs.update(state["pairs"])
    follows = figures["directly_follows_file_order"]
    assert (pairs.total(), len(pairs)) == (follows["pairs_total"], follows["pairs_distinct"])
    assert [pairs[f"{one}\n{other}"] for one, other, _ in follows["top10"]] == [count for _, _, count in follows["top10"]]


def check_bpic2012(found: Models, figures: dict[str, Any], counted: dict[str, Any]) -> None:
    cases, amounts = found["followed"], found["amounts"].values()
    for at, count in figures["cases_open_at_utc (first<=t<last)"].items():
        assert sum(state["first_time"] <= at < state["last_time"] for state in cases.values()) == count
    assert str(sum(state["amount"] for state in amounts)) == figures["sum_AMOUNT_REQ"]
    for end in ("A_APPROVED", "A_DECLINED", "A_CANCELLED"):
        reached = [state["amount"] for state in amounts if end in state["ends"]]
        assert {"cases": len(reached), "sum_AMOUNT_REQ": str(sum(reached))} == figures["cases_reaching"][end]
    assert sum(not state["ends"] for state in amounts) == figures["cases_none_of_approved_declined_cancelled"]


def check_wikiticker(found: Models, figures: dict[str, Any], counted: dict[str, Any]) -> None:
    assert counted["sums"] == {name: figures[f"sum_{name}"] for name in ("added", "deleted", "delta")}
    assert counted["flags"] == figures["flags_true"]
    check_streams(found["by_user"], figures["stream_is_user"])
    assert {channel: count for channel, (count, _) in found["by_channel"].items()} == figures["count_per_channel"]
    for channel, added in figures["sum_added_per_channel_top10"]:
        assert found["by_channel"][channel][1] == added


def check_gharchive(found: Models, figures: dict[str, Any], counted: dict[str, Any]) -> None:
    names = {"size": "push_sum_size", "distinct_size": "push_sum_distinct_size", "commits": "push_commits_listed"}
    assert counted["sums"] == {name: figures[key] for name, key in names.items()}


def check_octokit_webhooks(found: Models, figures: dict[str, Any], counted: dict[str, Any]) -> None:
    by_name: Counter[str] = Counter()
    for type, count in counted["types"].items():
        by_name[type.partition(".")[0]] += count
    assert by_name == figures["count_per_event_name"]
