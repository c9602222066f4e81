"""The web page in a real browser: what a person sees and does. Without a browser these tests skip themselves, and say so."""

import json
import shutil
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import hansard
from hansard import PARK, Decider, Event, Processor, Projection, Query, Retry, Timer
from hansard.domain import domain_of
from hansard.server.settings import Settings
from hansard.server.ui.words import word_of, words_of
from hansard.storage.opening import open_storage
from nats_servers import new_log
from places import another
from servers import served

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no browser: install Debian's chromium to run these tests")
PAGES = [
    *("/", "/streams", "/stream?name=order-1", "/event/1", "/event/2/graph", "/travel?stream=order-1", "/charts"),
    "/catalogue",
    *("/projections", "/projections/totals", "/projections/totals/differences?old=1&new=1.1", "/readers", "/readers/mailer"),
    *("/timers", "/health", "/reference", "/problems", "/login", "/nowhere"),
]
SERIOUS = {"serious", "critical"}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Page:
    """A tab, with all that it has complained about and all that it has asked for."""

    def __init__(self, browser: Any, url: str, *, width: int = 1300, scheme: str = "light") -> None:
        self.url = url
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
        self.tab = self.context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.tab.on(
            "console", lambda message: self.complaints.append(message.text) if message.type in ("error", "warning") else None
        )
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("request", lambda request: self.asked.append(request.url))

    def go(self, path: str) -> Any:
        answer = self.tab.goto(self.url + path)
        self.tab.wait_for_load_state("load")
        return answer

    def assert_quiet(self) -> None:
        complaints = [text for text in self.complaints if "404 (Not Found)" not in text]
        assert complaints == []
        assert [url for url in self.asked if not url.startswith(self.url)] == [], "a request has left the machine"


def fails(event: Any) -> None:
    raise ValueError("no such account")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[hansard.Store]:
    with hansard.open(tmp_path / "log.db") as opened:
        first = Event("placed", {"customer": {"name": "Jo", "city": "Ulm"}, "amount": 12}, tags={"customer:1"})
        opened.append("order-1", first)
        cause = {"causation_id": str(first.id), "correlation_id": str(first.id)}
        opened.append("payment-1", Event("payment-requested", {"amount": 12}, metadata=cause))
        opened.append("order-1", [Event("moved", {"customer": {"city": "Bonn"}}), Event("paid", {"paid": True})])
        opened.append("<b>evil</b>-1", Event("<img src=x onerror=alert(1)>", {"</script><script>alert(2)</script>": "\u202e"}))
        totals = Projection("totals", lambda n, event: n + 1, initial=0)
        opened.catch_up(totals, Processor("mailer", fails, query=Query(types={"paid"}), on_failure=PARK, retry=Retry(attempts=1)))
        opened.projection("totals").rebuild()
        opened.catch_up(totals)
        opened.timers.set(Timer("remind", hansard_day(), "order-1", Event("reminder-due")))
        yield opened


def hansard_day() -> Any:
    from datetime import timedelta

    return timedelta(days=1)


@pytest.fixture
def url(tmp_path: Path, store: hansard.Store) -> Iterator[str]:
    with served(open_storage(tmp_path / "log.db"), is_watched=False) as served_at:
        yield served_at


@pytest.fixture
def page(chromium: Any, url: str) -> Iterator[Page]:
    opened = Page(chromium, url)
    yield opened
    opened.assert_quiet()
    opened.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1600, "light")])
def test_every_page_is_usable_narrow_and_wide_in_light_and_dark(chromium: Any, url: str, width: int, scheme: str) -> None:
    """Somebody could not use it: on a telephone, in the dark, or with a screen reader."""
    from axe_playwright_python.sync_playwright import Axe

    page = Page(chromium, url, width=width, scheme=scheme)
    for path in PAGES:
        page.go(path)
        assert page.tab.locator("h1").count() == 1
        wide = page.tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 1, f"{path} is {wide} px wider than the window"
        found = [one for one in Axe().run(page.tab).response["violations"] if one["impact"] in SERIOUS]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == [], path
    page.assert_quiet()
    page.context.close()


def test_the_log_is_searched_paged_and_jumped_in(page: Page, store: hansard.Store) -> None:
    """An event of last week could not be found among millions."""
    store.append("many-1", [Event("tick", n) for n in range(120)])
    page.go("/")
    assert page.tab.locator("#rows tr").count() == 50
    page.tab.get_by_role("link", name="Older").click()
    page.tab.get_by_role("link", name="Newer").wait_for()
    assert page.tab.locator("#rows tr").first.inner_text().startswith("75")
    page.tab.get_by_label("Type").fill("placed, paid")
    page.tab.keyboard.press("Enter")
    page.tab.wait_for_url("**/?type=placed*")
    assert page.tab.locator("#rows tr").count() == 2
    page.go("/?position=60")
    assert page.tab.locator("#rows tr.marked").inner_text().startswith("60")
    page.go(f"/?at={store.event(next(store.read(after=9, limit=1)).id).timestamp.isoformat().replace('+', '%2B')}")  # type: ignore[union-attr]
    assert page.tab.locator("#rows tr.marked").count() == 1
    page.go("/?tag=customer:1")
    assert page.tab.locator("#rows tr").count() == 1


def test_the_tail_is_live(page: Page, store: hansard.Store) -> None:
    """A person would have to press reload."""
    page.go("/")
    page.tab.get_by_label("Live").check()
    page.tab.get_by_text("waiting for events").wait_for()
    store.append("order-9", [Event("shipped", {"n": n}, tags={"fast"}) for n in range(3)])
    page.tab.get_by_text("3 new").wait_for()
    first = page.tab.locator("#rows tr").first
    assert "shipped" in first.inner_text()
    assert first.get_by_role("link", name="fast").count() == 1
    page.tab.get_by_label("Live").uncheck()


def test_an_event_is_shown_and_copied(page: Page) -> None:
    """A person could not hand an event on to a colleague or a program."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.go("/event/1")
    assert "Ulm" in page.tab.locator(".tree").first.inner_text()
    page.tab.get_by_role("button", name="Copy as curl").click()
    page.tab.get_by_role("button", name="Copied").wait_for()
    assert page.tab.evaluate("navigator.clipboard.readText()").startswith("curl -s http://127.0.0.1")


def test_causes_are_drawn(page: Page) -> None:
    """Why something happened could only be guessed."""
    page.go("/event/1/graph")
    drawn = page.tab.locator("svg")
    assert drawn.locator("rect").count() == 2
    assert drawn.locator("path.arrow").count() == 1
    drawn.locator("text", has_text="payment-requested").click()
    page.tab.wait_for_url("**/event/*")
    assert "payment-requested" in page.tab.locator("h1").inner_text()


def test_the_slider_travels_through_time(page: Page) -> None:
    """What a stream was like yesterday could not be seen."""
    page.go("/travel?stream=order-1")
    city = page.tab.locator("tr", has_text="customer.city")
    assert "Bonn" in city.inner_text()
    assert "moved, version 2" in city.inner_text()
    slider = page.tab.get_by_role("slider")
    slider.focus()
    slider.press("ArrowLeft")
    page.tab.get_by_text("changed, was").wait_for()
    assert "version=2" in page.tab.url
    slider.press("ArrowLeft")
    page.tab.locator("tr.added", has_text="Ulm").wait_for()
    slider.press("Home")
    page.tab.get_by_text("Before the first event").wait_for()


def test_charts_show_the_rate_live(page: Page, store: hansard.Store) -> None:
    """A burst would be over before anybody sees it."""
    page.go("/charts")
    page.tab.locator("#live-rate").wait_for()
    store.append("burst-1", [Event("tick") for _ in range(500)])
    page.tab.wait_for_function("() => parseFloat(document.querySelector('#live-rate h2 span').textContent) > 40", timeout=15_000)


def test_a_rebuild_shows_its_progress_and_takes_over(page: Page, store: hansard.Store) -> None:
    """A read model could not be rebuilt, or nobody would know how long it takes."""
    slow = threading.Event()

    def fold(n: int, event: Any) -> int:
        slow.wait(0.002)
        return n + 1

    store.append("many-1", [Event("tick") for _ in range(1_500)])
    totals = Projection("totals", fold, initial=0)
    page.go("/projections/totals")
    page.tab.get_by_role("button", name="Rebuild").click()
    row = page.tab.locator("#builds tr", has_text="building")
    row.wait_for()
    with store.run(totals):
        page.tab.wait_for_function(
            "() => [...document.querySelectorAll('#builds tr')]"
            ".some(row => /building/.test(row.textContent) && row.querySelector('progress')?.value > 0)",
            timeout=20_000,
        )
        slow.set()
        page.tab.wait_for_function("() => !/building/.test(document.querySelector('#builds').textContent)", timeout=30_000)
    assert store.projection("totals").status().active == "1.2"
    page.tab.get_by_role("button", name="Promote").first.click()
    page.tab.wait_for_load_state("load")
    page.tab.wait_for_function("() => document.querySelector('#builds tr.marked')?.textContent.includes('(version 1)')")
    assert store.projection("totals").status().active != "1.2"


def test_dead_letters_are_retried_and_discarded(page: Page, store: hansard.Store) -> None:
    """An event that failed would stay so for ever."""
    seen: list[int] = []
    mailer = Processor("mailer", lambda event: seen.append(event.position), query=Query(types={"paid"}), on_failure=PARK)
    store.append("order-2", Event("paid"))
    page.go("/readers/mailer")
    assert "no such account" in page.tab.locator("#letters").inner_text()
    page.tab.get_by_role("button", name="Retry", exact=True).first.click()
    page.tab.wait_for_load_state("load")
    store.catch_up(mailer)
    assert sorted(seen) == [4, 6]
    page.go("/readers/mailer")
    page.tab.get_by_text("None.").wait_for()
    assert [e.type for e in store.all("hansard.audit")] == ["hansard.dead-letters-retried"]


def test_letters_that_are_gone_disappear_and_new_ones_appear(page: Page, store: hansard.Store) -> None:
    """Somebody would press Retry for what was done long ago, or wait for a letter that is there."""
    page.go("/readers/mailer")
    assert "no such account" in page.tab.locator("#letters").inner_text()
    letters = store.reader("mailer").dead_letters
    for letter in list(letters):
        letters.discard(letter.sequence)
    page.tab.locator("#letters").get_by_text("None.").wait_for(timeout=10_000)
    store.append("order-9", Event("paid"))
    store.catch_up(Processor("mailer", fails, query=Query(types={"paid"}), on_failure=PARK, retry=Retry(attempts=1)))
    page.tab.locator("#letters").get_by_text("order-9").wait_for(timeout=10_000)


def test_names_with_commas_and_spaces_are_found(page: Page, store: hansard.Store) -> None:
    """Its own link would lead to nothing."""
    store.append("odd-1", Event("a, b", tags={"x,y", ' "q" '}))
    for name in ("a, b", "x,y", ' "q" '):
        page.go("/charts" if name == "a, b" else "/")
        page.tab.get_by_role("link", name=name.strip(), exact=True).first.click()
        page.tab.wait_for_load_state("load")
        assert page.tab.locator("#rows tr").count() == 1, name
        assert "odd-1" in page.tab.locator("#rows").inner_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a", ["a"]),
        ("a , b,,", ["a", "b"]),
        ('a, "b,c" ,d', ["a", "b,c", "d"]),
        ('" x ", y ', [" x ", "y"]),
        ('"say ""hi"""', ['say "hi"']),
        ('a "b', ['a "b']),
        ('"a', ['"a']),
        ("", []),
    ],
)
def test_words_of_a_search(text: str, words: list[str]) -> None:
    """A name that is in the log could not be asked for."""
    assert words_of(text) == words
    assert words_of(", ".join(map(word_of, words))) == words


def test_live_numbers_are_those_that_are_stored(page: Page, store: hansard.Store) -> None:
    """A browser's numbers are too small for some, and 1.0 is not 1."""
    page.go("/")
    page.tab.get_by_role("checkbox").check()
    page.tab.get_by_text("waiting for events").wait_for()
    store.append("n-1", Event("number", data_json=b'{"id":12345678901234567890,"x":1.0,"y":2}'))
    page.tab.get_by_text("1 new").wait_for()
    assert '{"id":12345678901234567890,"x":1.0,"y":2}' in page.tab.locator("#rows tr").first.inner_text()


def test_a_stream_that_is_too_long_is_travelled_as_far_as_it_goes(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page would only say that it cannot."""
    monkeypatch.setattr("hansard.server.ui.travel._EVENTS_MAX", 2)
    page.go("/travel?stream=order-1")
    assert page.tab.get_by_role("slider").get_attribute("max") == "2"
    assert "to be travelled up to 2" in page.tab.locator("#travel").inner_text()


def test_consequences_right_behind_an_event_are_found(page: Page, store: hansard.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of its first cause, long ago, would use up what is looked at."""
    monkeypatch.setattr("hansard.server.ui.causes._LOOKED_AT_MAX", 3)
    root = store.add("long-1", "root")
    store.append("noise-1", [Event("noise") for _ in range(2_500)])
    command = store.append("long-1", Event("command", metadata={"causation_id": str(root.id)}))
    cause = store.all("long-1")[-1]
    store.append("long-1", Event("effect", metadata={"causation_id": str(cause.id)}))
    page.go(f"/event/{command.first_position}/graph")
    shown = page.tab.locator("svg").first.text_content() or ""
    assert all(name in shown for name in ("root", "command", "effect"))


def test_everything_can_be_done_by_keyboard(page: Page) -> None:
    """Whoever uses no mouse could not use it."""
    page.go("/")
    page.tab.keyboard.press("Tab")
    assert page.tab.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.tab.keyboard.press("/")
    assert page.tab.evaluate("document.activeElement.name") == "type"
    page.tab.keyboard.press("Escape")
    page.tab.evaluate("document.activeElement.blur()")
    page.tab.keyboard.press("j")
    page.tab.keyboard.press("j")
    page.tab.keyboard.press("k")
    page.tab.keyboard.press("Enter")
    page.tab.wait_for_url("**/event/*")
    assert page.tab.url.endswith("/event/5")
    page.go("/")
    page.tab.keyboard.press("l")
    page.tab.get_by_text("waiting for events").wait_for()


def test_the_page_works_without_scripts(chromium: Any, url: str) -> None:
    """A locked-down browser would show nothing."""
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    for path in PAGES:
        tab.goto(url + path)
        assert tab.locator("h1").count() == 1
    tab.goto(f"{url}/travel?stream=order-1")
    tab.get_by_role("link", name="Before it").click()
    assert "version=2" in tab.url
    context.close()


def test_a_store_of_many_events_opens_as_fast_as_an_empty_one(chromium: Any, tmp_path: Path) -> None:
    """Whoever has much to look at could not look at it."""
    seconds = []
    for number, count in enumerate((0, 200_000)):
        folder = tmp_path / str(number)
        folder.mkdir()
        with hansard.open(folder / "log.db") as store:
            for start in range(0, count, 20_000):
                store.append(f"s-{start}", [Event(f"t-{n % 9}") for n in range(20_000)])
        with served(open_storage(folder / "log.db"), Settings(read_only=False), is_watched=False) as url:
            page = Page(chromium, url)
            page.go("/")
            started = time.perf_counter()
            for path in ("/", "/streams", "/charts", "/?type=t-3"):
                page.go(path)
            seconds.append(time.perf_counter() - started)
            with suppress(Exception):
                page.context.close()
    assert seconds[1] < seconds[0] + 2.0, seconds


# With the user's own code


@hansard.event("order-placed", version=2, tags=["order:{order}"], personal=["customer"])
@dataclass(frozen=True)
class OrderPlaced:
    order: str
    amount: int
    customer: str | None = None


@hansard.event("order-paid")
@dataclass(frozen=True)
class OrderPaid:
    amount: int


@dataclass(frozen=True)
class Open:
    amount: int = 0


def owed(state: Open, event: Any) -> Open:
    return Open(state.amount + event.amount if isinstance(event, OrderPlaced) else state.amount - event.amount)


@pytest.fixture
def with_domain(tmp_path: Path) -> Iterator[str]:
    types = hansard.EventTypes(OrderPlaced, OrderPaid)
    types.upcast("ordered", 1, to=["order-placed", "order-paid"])(
        lambda data: [("order-placed", {"order": "7", "amount": data["sum"]}), ("order-paid", {"amount": data["paid"]})]
    )
    order = Decider("order", initial=Open(), decide=lambda command, state: [], evolve=owed, events=[OrderPlaced, OrderPaid])
    place = tmp_path / "typed.db"
    with hansard.open(place, types=types) as store:
        store.add("order-7", "ordered", {"sum": 10, "paid": 4})
        store.append("order-7", OrderPlaced("7", 5, "Jo"))
        store.add("order-7", "forgotten", {"x": 1})
        store.catch_up(Processor("mailer", lambda event: None, query=Query(types={OrderPaid})))
    with served(open_storage(place), is_watched=False, domain=domain_of([types, order])) as served_at:
        yield served_at


def test_the_catalogue_tells_who_makes_and_reads_what(chromium: Any, with_domain: str) -> None:
    """Nobody would know what an event means, and who breaks when it changes."""
    from axe_playwright_python.sync_playwright import Axe

    for width, scheme in ((400, "dark"), (1600, "light")):
        page = Page(chromium, with_domain, width=width, scheme=scheme)
        page.go("/catalogue")
        text = page.tab.inner_text("main")
        assert "3 event types" in text
        rows = [row.inner_text().split("\t") for row in page.tab.query_selector_all("main table.rows >> nth=0 >> tbody tr")]
        assert [row[0].split()[0] for row in rows] == ["forgotten", "order-paid", "order-placed"]
        assert "plain data" in rows[0][0]
        assert [cell.strip() for cell in rows[1][2:4]] == ["order", "mailer"]
        assert "Stored before as ordered." in text
        fields = page.tab.query_selector_all("#type-3 tbody tr")
        assert [row.inner_text().split("\t") for row in fields][1] == ["customer", "string or null", "no", "yes"]
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
        problems = [one for one in Axe().run(page.tab).response["violations"] if one["impact"] in SERIOUS]
        assert problems == []
        page.assert_quiet()
        page.context.close()


def test_a_filter_by_a_new_name_finds_old_events(chromium: Any, with_domain: str) -> None:
    """The page would show another log than the program sees."""
    page = Page(chromium, with_domain)
    page.go("/?type=order-paid")
    assert page.tab.locator("main table.rows tbody tr").count() == 1
    page.go("/event/1")
    assert page.tab.inner_text("h1").startswith("order-placed")
    assert "as ordered; what is shown above is what it is now" in page.tab.inner_text("main")
    assert page.tab.inner_text("#raw") == '{"sum":10,"paid":4}'
    page.assert_quiet()
    page.context.close()


def test_time_travel_by_a_decider(chromium: Any, with_domain: str) -> None:
    """The state that decisions rest on could not be looked at."""
    page = Page(chromium, with_domain)
    page.go("/travel?stream=order-7&version=1&by=order")
    assert page.tab.locator("#state tbody tr").first.inner_text().split("\t")[:2] == ["amount", "6"]
    page.go("/travel?stream=order-7&version=2&by=order")
    assert page.tab.locator("#state tbody tr").first.inner_text().split("\t")[:2] == ["amount", "11"]
    page.go("/travel?stream=order-7&by=order")
    assert "order failed at 'forgotten'" in page.tab.inner_text("main")
    page.complaints.clear()
    page.context.close()


def test_the_nodes_of_a_cluster_are_shown(chromium: Any, tmp_path: Path) -> None:
    """Nobody would see a node that is behind, or one that has stopped."""
    place = new_log(tmp_path / "replica.db")
    with hansard.open(another(place)) as other, served(open_storage(place), is_watched=False) as url:
        other.add("a-1", "happened")
        with urllib.request.urlopen(f"{url}/api/v1/cluster") as answer:
            told = json.load(answer)
        assert (told["first"], told["stopped"]) == (1, "")
        assert [node["name"].rpartition("/")[2] for node in told["nodes"]] == ["another.db", "replica.db"]
        for scheme, width in (("light", 1600), ("dark", 400)):
            page = Page(chromium, url, width=width, scheme=scheme)
            page.go("/health")
            rows = page.tab.locator("table.rows tbody tr")
            assert rows.count() == 2
            assert "this node" in rows.nth(0).inner_text()
            assert "another.db" in rows.nth(1).inner_text()
            page.assert_quiet()
            page.context.close()
