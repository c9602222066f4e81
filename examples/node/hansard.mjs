// A small client of a Hansard server, with nothing but Node (20 or newer): append, read, tail.

export class Hansard {
  constructor(url, key) {
    this.url = url.replace(/\/$/, "");
    this.headers = key ? { Authorization: `Bearer ${key}` } : {};
  }

  // Events get their ids here, so that sending them again after a lost answer stores nothing twice.
  async append(stream, events, { expectedVersion } = {}) {
    const headers = { ...this.headers, "Content-Type": "application/json" };
    if (expectedVersion === 0) headers["If-None-Match"] = "*";
    else if (expectedVersion !== undefined) headers["If-Match"] = `"${expectedVersion}"`;
    const body = JSON.stringify(events.map((event) => ({ id: crypto.randomUUID(), ...event })));
    return this.#json(`/api/v1/streams/${encodeURIComponent(stream)}/events`, { method: "POST", headers, body });
  }

  // All events of a stream, page by page.
  async *read(stream) {
    let next = `/api/v1/streams/${encodeURIComponent(stream)}/events`;
    while (next) {
      const page = await this.#json(next, { headers: this.headers });
      yield* page.events;
      next = page.next;
    }
  }

  // What is there after a position, then what comes, for ever; comes back after the server was away.
  async *tail({ after = 0, type } = {}) {
    const filter = type ? `?type=${encodeURIComponent(type)}` : "";
    let last = after;
    for (;;) {
      try {
        const headers = { ...this.headers, Accept: "text/event-stream", "Last-Event-ID": String(last) };
        const answer = await fetch(`${this.url}/api/v1/events${filter}`, { headers });
        if (!answer.ok) throw await problem(answer);
        for await (const message of messages(answer.body)) {
          last = Number(message.id ?? last);
          if (message.data && !message.event) yield JSON.parse(message.data);
        }
      } catch (error) {
        if (error instanceof Problem) throw error;
      }
      await new Promise((done) => setTimeout(done, 1000));
    }
  }

  async #json(path, options) {
    const answer = await fetch(this.url + path, options);
    if (!answer.ok) throw await problem(answer);
    return answer.json();
  }
}

// What the server says is wrong: `code`, `status`, `detail`, and the facts, such as `expected` and `current`.
export class Problem extends Error {
  constructor(facts) {
    super(facts.detail);
    Object.assign(this, facts);
  }
}

async function problem(answer) {
  return new Problem(await answer.json());
}

async function* messages(body) {
  let rest = "";
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      yield Object.fromEntries(part.split("\n").filter((line) => !line.startsWith(":")).map((line) => line.split(/: (.*)/s)));
    }
  }
}
