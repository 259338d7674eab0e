/** `POST /api/v1/explain` with a worker that is a fake: what is asked, what is added to the answer, and each mistake. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LbError } from '../../../src/contract/errors.ts';
import type { ExplainQuery, Explanation } from '../../../src/contract/explain.ts';
import { Explainer } from '../../../src/primary/workers/explainer.ts';
import { assertProblem, startAdmin } from './harness.ts';

const ANSWER: Explanation = {
  route: 'api',
  refusal: null,
  client: {
    clientId: 'acme',
    clientIp: '192.0.2.1',
    mode: 'limit',
    by: 'api_key',
    match: { client: null, bucketName: 'acme', tombstoneUs: 0 },
  },
  peer: { address: '192.0.2.1', trusted: false },
  apiKey: 'valid',
  path: { asSent: '/api/x', normalForms: ['/api/x'], ambiguous: false },
  policies: [
    {
      ...{ policy: 'default', capacity: 100, refillPerSecond: 50, cost: 1, leased: 0 },
      ...{ aloneAmong: null, aloneLevel: null, onStoreFailure: 'local', shadow: false },
    },
  ],
  pool: 'app',
  redirect: null,
  priority: 'normal',
  backends: [{ id: 'one', wouldBeTried: true, why: 'it takes requests' }],
  lacking: null,
  routes: [{ route: 'api', matched: true, why: 'host, path and method match' }],
  leftOut: 0,
  steps: ['A.', 'B.'],
};

const PATH = '/api/v1/explain';

test('the answer of a worker gets levels and states; a level that does not suffice is a refusal', async (t) => {
  const { call, parts } = await startAdmin(t);
  const queries: ExplainQuery[] = [];
  let answer = ANSWER;
  parts.explainer.explain = async (query) => {
    queries.push(query);
    return { worker: 1, explanation: answer };
  };
  const ask = async (body: object) => {
    const { status, json } = await call({ method: 'POST', path: PATH, body });
    assert.equal(status, 200, JSON.stringify(json));
    return json as Record<string, unknown>;
  };
  const first = await ask({
    url: 'https://www.example.com/api/x?q#part',
    headers: { 'x-api-key': 'k', a: ['1', '2'] },
  });
  assert.deepEqual(queries.at(-1), {
    head: 'GET /api/x?q HTTP/1.1\r\nHost: www.example.com\r\nx-api-key: k\r\na: 1\r\na: 2\r\n\r\n',
    scheme: 'https',
    peer: '127.0.0.1',
  });
  assert.deepEqual([first.worker, first.refusal, first.steps], [1, null, ['A.', 'B.']]);
  assert.deepEqual(first.policies, [{ ...ANSWER.policies[0], level: 99.5 }]);
  assert.deepEqual(first.backends, [{ ...ANSWER.backends[0], state: 'unknown' }]);
  assert.equal((first.client as { bucketName: string }).bucketName, 'acme');
  assert.doesNotMatch(JSON.stringify(first), /tombstone|lacking/);

  answer = { ...ANSWER, policies: [{ ...ANSWER.policies[0]!, cost: 100, leased: 100 }] };
  assert.equal((await ask({ url: 'http://a/' })).refusal, null, 'the lease covers it');
  answer = { ...ANSWER, policies: [{ ...ANSWER.policies[0]!, cost: 100, leased: 99 }] };
  const limited = await ask({
    url: '/api/x',
    headers: { Host: 'a' },
    method: 'PURGE',
    clientIp: '::ffff:192.0.2.1',
  });
  assert.deepEqual(queries.at(-1), {
    head: 'PURGE /api/x HTTP/1.1\r\nHost: a\r\n\r\n',
    scheme: 'http',
    peer: '192.0.2.1',
  });
  assert.deepEqual(limited.refusal, {
    status: 429,
    reason: 'limited',
    text: 'policy default has 99 tokens left, 99 on lease to this worker, 100 needed',
  });
  assert.match(String((limited.steps as string[]).at(-1)), /^It is refused with 429 \(limited\)/);
  answer = { ...ANSWER, policies: [{ ...ANSWER.policies[0]!, cost: 101 }] };
  assert.equal(
    ((await ask({ url: 'http://a' })).refusal as { reason: string }).reason,
    'cost_above_capacity',
  );
  assert.match(queries.at(-1)?.head ?? '', /^GET \/ HTTP/);
  for (const lacking of ['no_backend', 'queue_full'] as const) {
    answer = { ...ANSWER, lacking };
    assert.equal(((await ask({ url: 'http://a?x' })).refusal as { reason: string }).reason, lacking);
  }
  parts.buckets.of = () => Promise.reject(new LbError('store_timeout', 'late'));
  assert.deepEqual((await ask({ url: 'http://a' })).policies, [{ ...ANSWER.policies[0], level: null }]);
});

test('while the store is away for the worker, its policy says whether that is a refusal', async (t) => {
  const { call, parts } = await startAdmin(t);
  const refusalOf = async (more: Partial<Explanation['policies'][number]>) => {
    const policies = [{ ...ANSWER.policies[0]!, aloneAmong: 8, aloneLevel: 100, ...more }];
    parts.explainer.explain = async () => ({ worker: 1, explanation: { ...ANSWER, policies } });
    const { json } = await call({ method: 'POST', path: PATH, body: { url: 'http://a/' } });
    const { refusal } = json as { refusal: { status: number; reason: string } | null };
    return refusal && [refusal.status, refusal.reason];
  };
  assert.deepEqual(await refusalOf({ onStoreFailure: 'deny' }), [503, 'store_denied']);
  assert.equal(await refusalOf({ onStoreFailure: 'deny', leased: 1 }), null);
  assert.equal(await refusalOf({ onStoreFailure: 'deny', shadow: true }), null);
  assert.equal(await refusalOf({ onStoreFailure: 'deny', aloneAmong: null }), null);
  assert.equal(await refusalOf({ onStoreFailure: 'allow', cost: 101 }), null);
  assert.equal(await refusalOf({ onStoreFailure: 'local', cost: 100 }), null);
  const empty = { aloneLevel: 0.9, leased: 0 };
  assert.deepEqual(await refusalOf({ onStoreFailure: 'local', ...empty }), [429, 'limited']);
  assert.equal(await refusalOf({ onStoreFailure: 'local', ...empty, leased: 1 }), null);
  assert.equal(await refusalOf({ onStoreFailure: 'allow', ...empty }), null);
  assert.equal(await refusalOf({ onStoreFailure: 'local', ...empty, aloneAmong: null }), null);
  assert.deepEqual(await refusalOf({ onStoreFailure: 'local', cost: 101 }), [429, 'cost_above_capacity']);
});

test('wrong fields are named, and nothing can add a line to the request', async (t) => {
  const { call, parts } = await startAdmin(t);
  parts.explainer.explain = () => Promise.reject(new Error('asked'));
  const refused: [body: object, field: string][] = [
    [{}, 'url'],
    [{ url: 'ftp://a/' }, 'url'],
    [{ url: 'http://a/b c' }, 'url'],
    [{ url: 'http://a/\r\nX: y' }, 'url'],
    [{ url: '/path' }, 'url'],
    [{ url: 'http://a/', method: 'GE T' }, 'method'],
    [{ url: 'http://a/', method: 'X'.repeat(33) }, 'method'],
    [{ url: 'http://a/', headers: { 'a b': 'c' } }, 'headers.a b'],
    [{ url: 'http://a/', headers: { a: 'b\r\nc: d' } }, 'headers.a'],
    [{ url: 'http://a/', headers: { a: '\u20ac' } }, 'headers.a'],
    [{ url: 'http://a/', headers: { a: 5 } }, 'headers.a'],
    [{ url: 'http://a/', headers: { a: Array.from({ length: 1_001 }, () => 'x') } }, 'headers'],
    [{ url: 'http://a/', clientIp: 'example.com' }, 'clientIp'],
    [{ url: 'http://a/', more: 1 }, 'more'],
  ];
  for (const [body, field] of refused) {
    const answer = await call({ method: 'POST', path: PATH, body });
    assertProblem(answer, 422, [field]);
  }
  assertProblem(await call({ method: 'POST', path: PATH }), 400);
});

test('503 where no worker serves, hangs or can tell; another one is asked first', async (t) => {
  const { call, parts } = await startAdmin(t);
  let links: ConstructorParameters<typeof Explainer>[0] = () => [];
  parts.explainer = new Explainer(() => links());
  const ask = () => call({ method: 'POST', path: PATH, body: { url: 'http://a/' } });
  const link = (index: number, answer: () => Promise<unknown>) => ({ index, ask: answer as never });
  assert.match(assertProblemText(await ask()), /no worker serves/);
  const hung = link(0, () => Promise.reject(new LbError('worker_timeout', 'late')));
  links = () => [hung];
  assert.match(assertProblemText(await ask()), /did not answer in time/);
  links = () => [hung, link(1, async () => ({ explanation: null }))];
  assert.match(assertProblemText(await ask()), /no worker serves that can tell/);
  links = () => [hung, link(4, async () => ({ explanation: ANSWER }))];
  assert.equal(((await ask()).json as { worker: number }).worker, 4);
});

function assertProblemText(answer: Parameters<typeof assertProblem>[0]): string {
  assertProblem(answer, 503);
  return answer.text;
}

test('two requests are explained at a time, and 16 wait', async (t) => {
  const { call, parts } = await startAdmin(t);
  const gate = Promise.withResolvers<void>();
  let running = 0;
  let most = 0;
  parts.explainer.explain = async () => {
    most = Math.max(most, ++running);
    await gate.promise;
    running--;
    return { worker: 1, explanation: ANSWER };
  };
  const ask = () => call({ method: 'POST', path: PATH, body: { url: 'http://a/' } });
  const answers = Array.from({ length: 19 }, ask);
  const refused = await Promise.race(answers);
  assertProblem(refused, 503);
  assert.match(refused.text, /too many requests are being explained/);
  gate.resolve();
  const statuses = (await Promise.all(answers)).map(({ status }) => status);
  assert.deepEqual([statuses.filter((status) => status === 200).length, most], [18, 2]);
});
