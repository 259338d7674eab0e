import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitFor } from '../../support/wait.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

test('B20: connections above the cap are closed at once and counted, the others go on', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], limits: { connections: 2 } });
  const first = await proxy.connect();
  const second = await proxy.connect();
  const third = await proxy.connect();
  assert.equal((await third.waitForClose()).length, 0);
  assert.equal(proxy.metric('sluice_shed_total', 'connections'), 1);
  for (const client of [first, second]) {
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    assert.equal((await client.readResponse()).status, 200);
  }
  assert.equal(proxy.server.connectionCount, 2);
  first.close();
  await waitFor('the closed connection to be counted off', () => proxy.server.connectionCount === 1);
  const fourth = await proxy.connect();
  fourth.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await fourth.readResponse()).status, 200);
});

test('B20: the cap per address counts each address', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], limits: { connectionsPerIp: 1 } });
  const first = await proxy.connect();
  const second = await proxy.connect();
  await second.waitForClose();
  assert.equal(proxy.metric('sluice_shed_total', 'connections_per_ip'), 1);
  first.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await first.readResponse()).status, 200);
});

test('B20: a cap per address set by a reload counts the open connections, and a closed one makes room', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const capTo = (connectionsPerIp: number) =>
    proxy.reload({ backends: [backend], limits: { connectionsPerIp } });
  const isKept = async () => {
    const client = await proxy.connect();
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await waitFor('an answer or the end', () => client.received.length > 0 || client.ended || client.closed);
    return client.received.length > 0;
  };
  const early = [await proxy.connect(), await proxy.connect()];
  await waitFor('both to be accepted', () => proxy.server.connectionCount === 2);
  capTo(2);
  assert.equal(await isKept(), false);
  capTo(0);
  assert.equal(await isKept(), true);
  // Together with the one accepted while there was no cap.
  capTo(3);
  assert.equal(await isKept(), false);
  early[0]?.close();
  await waitFor('it to be closed', () => proxy.server.connectionCount === 2);
  assert.equal(await isKept(), true);
  assert.equal(await isKept(), false);
});

test('B20: the cap per address does not count trusted proxies', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, {
    backends: [backend],
    limits: { connectionsPerIp: 1 },
    trustedProxies: ['127.0.0.1'],
  });
  for (let i = 0; i < 3; i++) {
    const client = await proxy.connect();
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    assert.equal((await client.readResponse()).status, 200);
  }
});
