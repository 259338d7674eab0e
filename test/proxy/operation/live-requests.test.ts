/** The requests that somebody watches, on both engines. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RequestFilter } from '../../../src/contract/request-watch.ts';
import { AccessRecord } from '../../../src/proxy/access-record.ts';
import { LiveRequests } from '../../../src/proxy/live-requests.ts';
import { waitFor } from '../../support/wait.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { engineOf, policy, route, startProxy } from '../support.ts';

const ALL: RequestFilter = { client: null, route: null, status: null, slowerThanMs: null };

for (const engine of ['wire', 'node'] as const) {
  test(`a viewer gets the access lines that pass its filter, whatever the access log is (${engine})`, async (t) => {
    const backend = await startCapturingBackend(t);
    const proxy = await startProxy(t, {
      backends: [backend],
      policies: [policy('default', 1, 0.001)],
      routes: [
        route('api', { path: '/api/' }, { rateLimit: { policies: ['default'], cost: 1 } }),
        route('rest', { path: '/rest' }),
      ],
      trustedProxies: ['127.0.0.1'],
      access: { enabled: false, sample: 1 },
      engine: engineOf(engine),
    });
    const { live, watched } = proxy;
    assert.equal(live.isWatched, false);
    const filters: Partial<RequestFilter>[] = [
      {},
      { client: '192.0.2.1' },
      { route: 'rest' },
      { status: { from: 400, to: 499 } },
      { slowerThanMs: 60_000 },
    ];
    filters.forEach((filter, id) => {
      live.watch(id, { ...ALL, ...filter });
    });
    const ask = async (path: string, address: string) => {
      const client = await proxy.connect();
      client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: ${address}\r\n\r\n`);
      await client.readResponse();
      client.close();
    };
    await ask('/api/1', '192.0.2.1');
    await ask('/api/2', '192.0.2.1');
    await ask('/rest', '192.0.2.2');
    const bad = await proxy.connect();
    bad.write('NONSENSE\r\n\r\n');
    await bad.readResponse();
    const seen = (id: number) =>
      watched
        .filter((message) => message.id === id)
        .flatMap(({ lines }) => lines.map((line) => JSON.parse(line) as AccessRecord));
    await waitFor('all requests', () => seen(0).length === 4);
    assert.deepEqual(
      seen(0).map(({ path, status, route: name }) => [path, status, name]),
      [
        ['/api/1', 200, 'api'],
        ['/api/2', 429, 'api'],
        ['/rest', 200, 'rest'],
        [null, 400, null],
      ],
    );
    assert.ok(seen(0).every(({ time }) => /^\d{4}-.*Z$/.test(time)));
    assert.deepEqual(
      seen(1).map(({ path }) => path),
      ['/api/1', '/api/2'],
    );
    assert.deepEqual(
      seen(2).map(({ path }) => path),
      ['/rest'],
    );
    assert.deepEqual(
      seen(3).map(({ status }) => status),
      [429, 400],
    );
    assert.deepEqual(seen(4), []);
    assert.deepEqual(proxy.lines, [], 'the access log stays off');
    live.unwatch(0);
    assert.equal(live.isWatched, true);
    live.stop();
    assert.equal(live.isWatched, false);
  });
}

test('a range lets through whoever is in it, and the client that has it for an id', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const lines: string[] = [];
  const live = new LiveRequests((message) => {
    if (message.type === 'watched-requests') lines.push(...message.lines);
    return true;
  });
  t.after(() => live.stop());
  live.watch(1, { ...ALL, client: '2001:db8::/64' });
  live.watch(2, { ...ALL, client: 'a/64' });
  live.watch(3, { ...ALL, client: '::/64' });
  const offer = (address: string, clientId: string | null = null) =>
    live.offer(Object.assign(new AccessRecord(address, 'GET'), { clientId }));
  offer('2001:db8::1');
  offer('::1');
  offer('2001:db8:0:0:ffff::', 'acme');
  offer('2001:db8:0:1::');
  offer('32.1.13.184');
  offer('unix:');
  offer('192.0.2.1', '2001:db8::/64');
  t.mock.timers.tick(200);
  const seen = lines.map((line) => (JSON.parse(line) as AccessRecord).clientIp);
  assert.deepEqual(seen, ['2001:db8::1', '2001:db8:0:0:ffff::', '192.0.2.1', '::1']);
});

test('a worker sends 50 lines a second at most, and counts the others', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const { live, watched } = proxy;
  live.watch(1, ALL);
  const startMs = performance.now();
  const client = await proxy.connect();
  const total = 300;
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(total));
  for (let i = 0; i < total; i++) await client.readResponse();
  const count = () => watched.reduce((sum, { lines }) => sum + lines.length, 0);
  const dropped = () => watched.reduce((sum, message) => sum + message.dropped, 0);
  await waitFor('every request to be told or counted', () => count() + dropped() === total);
  const mostLines = 50 + (50 * (performance.now() - startMs)) / 1000;
  assert.ok(count() >= 50 && count() <= mostLines, `${count()} of ${mostLines}`);
  live.unwatch(1);
  assert.equal(live.isWatched, false);
  const before = watched.length;
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await client.readResponse();
  await waitFor('the access line', () => proxy.lines.length === total + 1);
  assert.equal(watched.length, before);
});

test('a viewer has one batch and 50 lines under way at most while the primary does not read', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const sent: number[][] = [];
  let arrive: () => void = () => undefined;
  const live = new LiveRequests((message, onLeft) => {
    if (message.type === 'watched-requests') sent.push([message.lines.length, message.dropped]);
    arrive = onLeft;
    return true;
  });
  t.after(() => live.stop());
  live.watch(1, ALL);
  for (let tick = 0; tick < 10; tick++) {
    for (let i = 0; i < 30; i++) live.offer(new AccessRecord('::1', 'GET'));
    t.mock.timers.tick(200);
  }
  assert.deepEqual(sent, [[30, 0]]);
  arrive();
  t.mock.timers.tick(200);
  assert.deepEqual(sent.slice(1), [[30, 240]]);
});

test('what a primary that does not read was not told is counted as left out', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const told: number[][] = [];
  let isRead = false;
  const live = new LiveRequests((message) => {
    if (isRead && message.type === 'watched-requests') told.push([message.lines.length, message.dropped]);
    return isRead;
  });
  t.after(() => live.stop());
  live.watch(1, ALL);
  for (let i = 0; i < 60; i++) live.offer(new AccessRecord('::1', 'GET'));
  t.mock.timers.tick(400);
  isRead = true;
  live.offer(new AccessRecord('::1', 'GET'));
  t.mock.timers.tick(200);
  t.mock.timers.tick(200);
  assert.deepEqual(told, [[1, 60]]);
});

test('the range of a viewer is looked at last: it costs more than the rest of the filter', (t) => {
  const lines: string[] = [];
  t.mock.timers.enable({ apis: ['setInterval'] });
  const live = new LiveRequests((message) => {
    if (message.type === 'watched-requests') lines.push(...message.lines);
    return true;
  });
  t.after(() => live.stop());
  live.watch(0, { client: '192.0.2.0/24', route: 'api', status: { from: 500, to: 599 }, slowerThanMs: 10 });
  let reads = 0;
  const offer = (clientIp: string, facts: Partial<AccessRecord>) => {
    const record = Object.assign(
      new AccessRecord('', 'GET'),
      { route: 'api', status: 500, totalMs: 11 },
      facts,
    );
    const get = () => {
      reads += 1;
      return clientIp;
    };
    live.offer(Object.defineProperty(record, 'clientIp', { get }));
  };
  for (const facts of [{ route: 'rest' }, { status: 200 }, { totalMs: 10 }]) offer('192.0.2.1', facts);
  assert.equal(reads, 0);
  offer('198.51.100.1', {});
  offer('192.0.2.1', {});
  t.mock.timers.tick(1_000);
  assert.deepEqual(
    lines.map((line) => JSON.parse(line).clientIp),
    ['192.0.2.1'],
  );
});
