// What is live on the page: the tail of the log, parts that refresh themselves, the slider, copying, keys.
// Everything else works without it.
"use strict";

const find = (selector, within = document) => within.querySelector(selector);
const findAll = (selector, within = document) => [...within.querySelectorAll(selector)];

// Parts that ask again for their own page and take their new content from it.

async function load(url, signal) {
  const answer = await fetch(url, { credentials: "same-origin", headers: { Accept: "text/html" }, signal });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

function take(id, from) {
  const old = document.getElementById(id);
  const fresh = from.getElementById(id);
  if (!old || !fresh || old.contains(document.activeElement) || old.innerHTML === fresh.innerHTML) return;
  old.replaceChildren(...fresh.childNodes);
}

function refresh() {
  const parts = findAll("[data-refresh]");
  if (!parts.length) return;
  const pause = Math.min(...parts.map((part) => Number(part.dataset.refresh)));
  const again = async () => {
    if (!document.hidden) {
      try {
        const fresh = await load(location.href);
        parts.forEach((part) => take(part.id, fresh));
      } catch (error) {
        // The server may be restarting; the next turn asks again.
      }
    }
    setTimeout(again, pause);
  };
  setTimeout(again, pause);
}

// The tail of the log.

// A number is shown as it is stored, also where a browser's numbers are too small for it (browsers that cannot show it rounded).
function asWritten(name, value, context) {
  if (typeof value !== "number" || !context || !JSON.rawJSON || String(value) === context.source) return value;
  return name === "position" || name === "version" ? value : JSON.rawJSON(context.source);
}

// A name in the search: in quotes where it has a comma, a quote, or spaces at its ends.
function word(name) {
  return /[",]|^\s|\s$/.test(name) ? `"${name.replaceAll('"', '""')}"` : name;
}

function cell(row, text, kind, href) {
  const made = row.insertCell();
  if (kind) made.className = kind;
  if (href) {
    const link = document.createElement("a");
    link.href = href;
    link.textContent = text;
    if (kind === "number") link.className = "row-link";
    made.append(link);
  } else {
    made.textContent = text;
  }
  return made;
}

function put(event) {
  const row = find("#rows").insertRow(0);
  row.className = "fresh";
  cell(row, event.position, "number", `/event/${event.position}`);
  cell(row, event.stream ?? "", "", event.stream === null ? "" : `/stream?name=${encodeURIComponent(event.stream)}`);
  cell(row, event.version ?? "", "number");
  const type = cell(row, event.type, "");
  for (const tag of event.tags) {
    const link = document.createElement("a");
    link.className = "tag";
    link.href = `/?tag=${encodeURIComponent(word(tag))}`;
    link.textContent = tag;
    type.append(" ", link);
  }
  cell(row, event.timestamp.slice(0, 23).replace("T", " "), "time");
  const code = document.createElement("code");
  code.textContent = (event.data_json ?? JSON.stringify(event.data) ?? "").slice(0, 300);
  cell(row, "", "data").append(code);
  while (find("#rows").rows.length > 500) find("#rows").lastElementChild.remove();
}

function live() {
  const box = find("[data-live]");
  if (!box) return;
  const state = find("#live-state");
  let source = null;
  let last = box.dataset.live;
  let count = 0;
  box.addEventListener("change", () => {
    if (!box.checked) {
      source.close();
      state.textContent = "stopped";
      return;
    }
    source = new EventSource(last);
    source.onopen = () => { state.textContent = "waiting for events"; };
    source.onmessage = (message) => {
      put(JSON.parse(message.data, asWritten));
      count += 1;
      state.textContent = `${count} new`;
      find(".empty")?.remove();
      last = last.replace(/after=\d+/, `after=${message.lastEventId}`);
    };
    source.onerror = () => { state.textContent = "the server is away; trying again"; };
  });
}

// The slider.

function slider() {
  const range = find("[data-slider]");
  if (!range) return;
  let asked = new AbortController();
  range.addEventListener("input", async () => {
    asked.abort();
    const { signal } = (asked = new AbortController());
    find("#version-shown").textContent = range.value;
    const url = new URL(location.href);
    for (const [name, value] of new FormData(range.form)) url.searchParams.set(name, value);
    try {
      await new Promise((resolve) => setTimeout(resolve, 50));
      if (signal.aborted) return;
      const fresh = await load(url, signal);
      take(range.dataset.slider, fresh);
      history.replaceState(null, "", url);
    } catch (error) {
      if (signal.aborted) return;
      find(`#${range.dataset.slider}`).textContent = `It could not be read: ${error.message}`;
    }
  });
}

// Copying, asking before what cannot be undone, keys.

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const before = button.textContent;
  const text = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "Copied";
  } catch (error) {
    getSelection().selectAllChildren(text);
    button.textContent = "Selected: copy it";
  }
  setTimeout(() => { button.textContent = before; }, 1500);
});

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

function step(direction) {
  const links = findAll(".row-link");
  const at = links.indexOf(document.activeElement);
  const next = links[Math.max(0, Math.min(links.length - 1, at + direction))];
  next?.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (event.key === "/") {
    event.preventDefault();
    find("[data-search]")?.focus();
  } else if (event.key === "j") {
    step(1);
  } else if (event.key === "k") {
    step(-1);
  } else if (event.key === "l") {
    find("[data-live]")?.click();
  }
});

refresh();
live();
slider();
