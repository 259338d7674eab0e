import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClientRecord } from '../../../src/contract/clients.ts';
import type { Decision } from '../../../src/limit/decision.ts';
import type { PlanDeps } from '../../../src/proxy/plan.ts';
import { decisionOf } from '../../limit/decision-of.ts';
import { waitFor } from '../../support/wait.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { dataPath, type ProxyOptions, policy, route, startProxy } from '../support.ts';

const POLICY = policy('default', 2, 0.5);
const LIMITED: ProxyOptions = {
  policies: [POLICY],
  routes: [route('api', {}, { rateLimit: { policies: ['default'], cost: 1 } })],
};
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const from = (address: string) => `GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: ${address}\r\n\r\n`;
const record = (clientId: string, more: Partial<ClientRecord> = {}): ClientRecord => ({
  clientId,
  mode: 'limit',
  limits: {},
  versionUs: 2,
  ...more,
});

test('B31: every answer of a limited route carries both fields, a 429 also Retry-After and a quota-exceeded problem', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { ...LIMITED, backends: [backend] });
  const client = await proxy.connect();
  for (const left of [1, 0]) {
    client.write(GET);
    const answer = await client.readResponse();
    assert.equal(answer.status, 200);
    assert.equal(answer.header('ratelimit-policy'), '"default";q=2;w=4');
    assert.match(answer.header('ratelimit') ?? '', new RegExp(`^"default";r=${left};t=\\d+$`));
  }
  client.write(GET);
  const refused = await client.readResponse();
  assert.equal(refused.status, 429);
  const [, resetSec] = /^"default";r=0;t=(\d+)$/.exec(refused.header('ratelimit') ?? '') ?? [];
  const retrySec = Number(refused.header('retry-after'));
  assert.ok(Number.isInteger(retrySec) && retrySec >= 1 && retrySec >= Number(resetSec), String(retrySec));
  assert.match(JSON.parse(refused.body.toString()).type, /quota-exceeded$/);
  assert.equal(refused.header('content-type'), 'application/problem+json');
  assert.equal(refused.header('connection'), null, 'a 429 does not end the connection');
  assert.equal(backend.requests.length, 2);
  assert.equal(proxy.lines[2]?.reason, 'limited');
  assert.equal(typeof proxy.lines[2]?.limiterMs, 'number');
});

test('B31: answers that the proxy makes itself on a limited route carry the fields too', async (t) => {
  const proxy = await startProxy(t, { ...LIMITED, backends: [] });
  const client = await proxy.connect();
  client.write(GET);
  const answer = await client.readResponse();
  assert.equal(answer.status, 503);
  assert.equal(answer.header('ratelimit-policy'), '"default";q=2;w=4');
});

test('no 100 Continue is sent before a 429, and the connection ends because the body stays unread', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, {
    ...LIMITED,
    policies: [{ ...POLICY, capacity: 1 }],
    backends: [backend],
  });
  const client = await proxy.connect();
  client.write(GET);
  await client.readResponse();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n');
  const answer = await client.readResponse();
  assert.equal(answer.status, 429);
  assert.equal(answer.interims.length, 0);
  assert.equal(answer.header('connection'), 'close');
  await client.waitForClose();
});

test('B33: addresses have buckets of their own, IPv6 by /64', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, {
    ...LIMITED,
    policies: [{ ...POLICY, capacity: 1, refillPerSecond: 0.001 }],
    trustedProxies: ['127.0.0.1'],
    backends: [backend],
  });
  const client = await proxy.connect();
  const statusOf = async (address: string) => {
    client.write(from(address));
    return (await client.readResponse()).status;
  };
  assert.equal(await statusOf('198.51.100.1'), 200);
  assert.equal(await statusOf('198.51.100.1'), 429);
  assert.equal(await statusOf('198.51.100.2'), 200);
  assert.equal(await statusOf('2001:db8::1'), 200);
  assert.equal(await statusOf('2001:db8::2'), 429);
  assert.equal(await statusOf('2001:db8:0:1::1'), 200);
  assert.equal(await statusOf('::ffff:198.51.100.2'), 429);
});

test('B33: an untrusted X-Forwarded-For does not choose the bucket', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, {
    ...LIMITED,
    policies: [{ ...POLICY, capacity: 1 }],
    backends: [backend],
  });
  const client = await proxy.connect();
  client.write(from('198.51.100.1'));
  assert.equal((await client.readResponse()).status, 200);
  client.write(from('198.51.100.2'));
  assert.equal((await client.readResponse()).status, 429);
});

test('B33: under shadow the fields are sent and nothing is refused', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, {
    ...LIMITED,
    policies: [{ ...POLICY, capacity: 1, shadow: true }],
    backends: [backend],
  });
  const client = await proxy.connect();
  for (let i = 0; i < 3; i++) {
    client.write(GET);
    const answer = await client.readResponse();
    assert.equal(answer.status, 200);
    assert.match(answer.header('ratelimit') ?? '', /^"default";r=0;t=/);
    assert.equal(answer.header('retry-after'), null);
  }
});

test('a blocked client gets 403, an unlimited one is never limited and gets no fields', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, {
    ...LIMITED,
    policies: [{ ...POLICY, capacity: 1 }],
    trustedProxies: ['127.0.0.1'],
    clients: [record('198.51.100.1', { mode: 'blocked' }), record('198.51.100.2', { mode: 'unlimited' })],
    backends: [backend],
  });
  const client = await proxy.connect();
  client.write(from('198.51.100.1'));
  const blocked = await client.readResponse();
  assert.equal(blocked.status, 403);
  assert.equal(proxy.lines[0]?.reason, 'blocked');
  assert.equal(proxy.lines[0]?.clientId, '198.51.100.1');
  for (let i = 0; i < 3; i++) {
    client.write(from('198.51.100.2'));
    const answer = await client.readResponse();
    assert.equal(answer.status, 200);
    assert.equal(answer.header('ratelimit'), null);
  }
});

test('a client’s own limits replace those of the policy', async (t) => {
  const backend = await startCapturingBackend(t);
  const limits = { default: { capacity: 7, refillPerSecond: 1 } };
  const proxy = await startProxy(t, {
    ...LIMITED,
    clients: [record('127.0.0.1', { limits })],
    backends: [backend],
  });
  const client = await proxy.connect();
  client.write(GET);
  assert.equal((await client.readResponse()).header('ratelimit-policy'), '"default";q=7;w=7');
});

/** A limiter whose single decision the test releases. */
function makeSlowLimiter(): { limiter: PlanDeps['limiter']; asked: () => number; allow: () => void } {
  const waiting: ((decision: Decision) => void)[] = [];
  const decision = decisionOf({ capacity: 2, refillPerSecond: 1, remaining: 1, resetMs: 0 });
  return {
    limiter: {
      take: () => new Promise((resolve) => waiting.push(resolve)),
      refusalOf: () => null,
      peek: () => decision,
      leased: () => 0,
      alone: () => null,
      giveBack: () => undefined,
    },
    asked: () => waiting.length,
    allow: () => {
      for (const resolve of waiting) resolve(decision);
    },
  };
}

for (const [how, take] of [
  [
    'at once',
    () => {
      throw new Error('bug');
    },
  ],
  ['later', () => Promise.reject(new Error('bug'))],
] as const) {
  test(`a fault of our own, thrown ${how}, is a 500 that blames no backend, and the connection goes on`, async (t) => {
    const backend = await startCapturingBackend(t);
    const limiter = { ...makeSlowLimiter().limiter, take };
    const proxy = await startProxy(t, { ...LIMITED, backends: [backend], limiter });
    const client = await proxy.connect();
    for (let i = 1; i <= 2; i++) {
      client.write(GET);
      const answer = await client.readResponse();
      assert.deepEqual([answer.status, answer.reason], [500, 'Internal Server Error']);
      assert.match(JSON.parse(answer.body.toString()).type, /\/internal_error$/);
      await waitFor('the access line', () => proxy.lines.length === i);
    }
    assert.deepEqual(
      proxy.lines.map(({ status, reason, backend }) => [status, reason, backend]),
      [
        [500, 'internal_error', null],
        [500, 'internal_error', null],
      ],
    );
    assert.deepEqual([proxy.failures, backend.connectionCount], [[], 0]);
  });
}

test('a request whose client disconnects while it waits for a token never reaches a backend', async (t) => {
  const backend = await startCapturingBackend(t);
  const { limiter, asked, allow } = makeSlowLimiter();
  const proxy = await startProxy(t, { ...LIMITED, backends: [backend], limiter });
  const client = await proxy.connect();
  client.write(GET);
  await waitFor('the take', () => asked() === 1);
  client.reset();
  await waitFor('the request to end', () => proxy.handler.traffic.inFlight === 0);
  allow();
  const other = await proxy.connect();
  other.write('BAD\r\n\r\n');
  await other.readResponse();
  assert.equal(backend.connectionCount, 0);
  assert.equal(proxy.lines[0]?.reason, 'client_abort');
});

test('a request whose body turns out malformed while it waits for a token is refused once and never reaches a backend', async (t) => {
  const backend = await startCapturingBackend(t);
  const { limiter, asked, allow } = makeSlowLimiter();
  const proxy = await startProxy(t, { ...LIMITED, backends: [backend], limiter });
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
  await waitFor('the take', () => asked() === 1);
  client.write('nonsense\r\n');
  // node's parser has read the body already; ours reads it only when it is wanted.
  if (dataPath.engine === 'node') client.socket.once('data', allow);
  else allow();
  assert.equal((await client.readResponse()).status, 400);
  assert.equal((await client.waitForClose()).length, 0);
  assert.deepEqual(backend.received.join(''), '');
  assert.equal(proxy.lines.length, 1);
});
