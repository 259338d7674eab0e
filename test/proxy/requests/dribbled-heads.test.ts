/** Heads that arrive byte by byte. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { RawClient } from '../../support/raw-http.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

const BYTES = 10_000;

/** Writes one byte per turn of the event loop, so that the proxy, in this process, reads each by itself. */
async function dribble(client: RawClient, text: string): Promise<void> {
  for (const byte of text) {
    client.write(byte);
    await nextTurn();
  }
}

const FIELDS: [title: string, fields: string][] = [
  ['one long field', `X: ${'v'.repeat(BYTES)}\r\n`],
  ['many short fields', 'X: y\r\n'.repeat(95)],
];

for (const [title, fields] of FIELDS) {
  test(`a head of ${title} in single bytes is answered, at a constant cost per byte`, async (t) => {
    const backend = await startCapturingBackend(t);
    const proxy = await startProxy(t, { backends: [backend], timeouts: { headersMs: 60_000 } });
    const client = await proxy.connect();
    const head = `GET /a HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;
    const before = process.cpuUsage();
    await dribble(client, head);
    assert.equal((await client.readResponse()).body.toString(), 'GET /a');
    const { user, system } = process.cpuUsage(before);
    const eachMs = (user + system) / 1000 / head.length;
    // Parsing the whole head again for each byte would cost more.
    assert.ok(eachMs < 0.5, `${eachMs} ms of CPU time for each byte`);
    assert.equal(backend.requests[0]?.all('x').length, fields.split('\n').length - 1);
    client.write('GET /b HTTP/1.1\r\nHost: a\r\n\r\n');
    assert.equal((await client.readResponse()).body.toString(), 'GET /b');
  });
}
