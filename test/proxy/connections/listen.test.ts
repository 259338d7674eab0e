import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemCodeOf } from '../../../src/contract/errors.ts';
import { plain } from '../../support/settings.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

test('B26: trustedProxies may name Unix sockets, whose X-Forwarded-For then identifies clients', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sluice-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, {
    backends: [backend],
    listen: { kind: 'unix', path: join(folder, 's') },
    trustedProxies: ['unix:'],
  });
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n');
  assert.equal((await client.readResponse()).status, 200);
  assert.equal(backend.requests[0]?.header('x-forwarded-for'), '203.0.113.7');
  assert.equal(backend.requests[0]?.header('x-real-ip'), '203.0.113.7');
  assert.equal(proxy.lines[0]?.clientIp, '203.0.113.7');
});

test('a Unix socket serves; its peers have no address and are logged as unix:', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sluice-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 's');
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], listen: { kind: 'unix', path } });
  assert.equal(proxy.url, `unix:${path}`);
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await client.readResponse()).status, 200);
  assert.equal(backend.requests[0]?.header('x-forwarded-for'), 'unix:');
  assert.equal(proxy.lines[0]?.clientIp, 'unix:');
});

test('a port in use is listen_failed with the system’s code as cause', async (t) => {
  const proxy = await startProxy(t, { backends: [] });
  await assert.rejects(
    proxy.server.listen(plain({ kind: 'tcp', host: '127.0.0.1', port: proxy.port }), 'b'),
    (error: Error) => {
      assert.equal(systemCodeOf(error), 'listen_failed');
      assert.equal(systemCodeOf(error.cause), 'EADDRINUSE');
      return true;
    },
  );
});

test('an address in use is named as the configuration names it', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sluice-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const taken = { kind: 'unix', path: join(folder, 's') } as const;
  const proxy = await startProxy(t, { backends: [], listen: taken });
  await assert.rejects(proxy.server.listen(plain(taken), 'b'), {
    message:
      `cannot listen on unix:${taken.path}: EADDRINUSE: another program listens there ` +
      '(is another instance running? stop it, or choose another port in the configuration)',
  });
  const elsewhere = { kind: 'tcp', host: '2001:db8::1', port: 0 } as const;
  await assert.rejects(proxy.server.listen(plain(elsewhere), 'c'), {
    message: 'cannot listen on [2001:db8::1]:0: EADDRNOTAVAIL: this machine has no such address',
  });
});

test('an address without a host serves IPv4 and IPv6', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], listen: { kind: 'tcp', host: null, port: 0 } });
  assert.match(proxy.url, /^http:\/\/127\.0\.0\.1:\d+$/);
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await client.readResponse()).status, 200);
  assert.equal(proxy.lines[0]?.clientIp, '127.0.0.1');
});
