// node try.mjs http://127.0.0.1:7878 [KEY]: stores two events, reads them back, and waits for a third one.

import { Hansard, Problem } from "./hansard.mjs";

const store = new Hansard(process.argv[2] ?? "http://127.0.0.1:7878", process.argv[3]);
const stream = `node-${crypto.randomUUID()}`;

const placed = await store.append(stream, [{ type: "placed", data: { amount: 12 } }, { type: "paid" }], { expectedVersion: 0 });
console.log(`stored at ${placed.first_position} to ${placed.last_position}`);

try {
  await store.append(stream, [{ type: "placed" }], { expectedVersion: 0 });
} catch (error) {
  if (!(error instanceof Problem)) throw error;
  console.log(`refused: ${error.code}, current is ${error.current}`);
}

for await (const event of store.read(stream)) console.log(`read ${event.type} ${JSON.stringify(event.data)}`);

setTimeout(() => store.append(stream, [{ type: "shipped" }]), 100);
for await (const event of store.tail({ after: placed.last_position })) {
  console.log(`live ${event.type}`);
  if (event.type === "shipped") process.exit(0);
}
