/** Attempts that end in ways of their own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Responder } from '../../../src/proxy/responder.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

test('an error of our own on a whole answer is 500, and the request ends', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('ok'));
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  const relay = t.mock.method(Responder.prototype, 'relay', () => {
    throw new Error('a bug');
  });
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await client.readResponse()).status, 500);
  assert.equal(proxy.faults.splice(0).length, 1);
  relay.mock.restore();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await client.readResponse()).status, 200);
});

test('B8: a client of HTTP/1.0 gets no interim answer, which so does not hinder another try', async (t) => {
  const early = await startCapturingBackend(t, (_request, socket) => {
    socket.end('HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n');
    return null;
  });
  const good = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [early, good] });
  const client = await proxy.connect();
  client.write('GET / HTTP/1.0\r\nHost: a\r\n\r\n');
  assert.equal((await client.readResponse()).status, 200);
  assert.equal(early.requests.length, 1);
});
