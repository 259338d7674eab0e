/**
 * The response parser against node's own client and undici on the same bytes, over real sockets. They must agree on every
 * response, or the difference must be a decided one. (The fuzzing does the same in memory, many more times.)
 */
import assert from 'node:assert/strict';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { runCampaign } from '../fuzz/campaign.ts';
import { compareResponse } from '../fuzz/compare-responses.ts';
import { responseCase } from '../fuzz/generate-responses.ts';
import { turn } from '../fuzz/memory-socket.ts';
import type { Line } from '../fuzz/response-readers.ts';

/** What the backend sends, by the path of the request. */
const waiting = new Map<string, readonly Buffer[]>();
let port = 0;
let count = 0;

const server = createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => socket.destroy());
  socket.once(
    'data',
    (head: Buffer) => void writeSegments(socket, head.toString('latin1').split(' ')[1] ?? ''),
  );
});

async function writeSegments(socket: Socket, path: string): Promise<void> {
  for (const segment of waiting.get(path) ?? []) {
    if (!socket.destroyed) socket.write(segment);
    await turn();
  }
  waiting.delete(path);
  socket.end();
}

function tcpLine(segments: readonly Buffer[]): Line {
  const path = `/${count++}`;
  waiting.set(path, segments);
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  // The readers get errors through their own requests.
  socket.on('error', () => socket.destroy());
  return { socket, path, feed: () => undefined };
}

before(async () => {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  port = (server.address() as AddressInfo).port;
});
after(() => {
  server.close();
});

test("the parser agrees with node's client and undici on generated responses, split at random places", async () => {
  const { classes, failures, cases } = await runCampaign({
    name: '../upstream/parser-oracle',
    title: 'responses over real sockets, read by us, node and undici',
    lanes: 16,
    share: 0.05,
    short: { count: 1_000, sec: 5 },
    run: async (random) => {
      const { classes: found, undecided } = await compareResponse(responseCase(random), random, tcpLine);
      return { classes: found, failures: undecided };
    },
  });
  assert.equal(failures.length, 0, 'undecided differences, printed above');
  // Both kinds must occur often, or the test proves little.
  for (const kind of [
    'node: both accept',
    'node: both refuse',
    'undici: both accept',
    'undici: both refuse',
  ]) {
    assert.ok(cases < 100 || (classes.get(kind) ?? 0) > cases / 20, kind);
  }
});
