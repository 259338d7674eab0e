/** The ways past node's documented API: they must serve as the public ones do, and be taken only where they can. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { writeTextPublicly, writeTextShortly } from '../../src/infra/text-writes.ts';
import { innerWaysFor } from '../../src/worker/inner-ways.ts';
import {
  FramedResponse,
  probeShortHeads,
  writeHeadPublicly,
  writeHeadShortly,
} from '../../src/worker/response-heads.ts';
import { PUBLIC_MESSAGES, SHORT_MESSAGES } from '../../src/worker/short-messages.ts';
import { probeShortMessages } from '../../src/worker/short-probe.ts';
import { runToEnd } from '../support/child.ts';

/** Where the head of an answer, its framing, or the end of it or of its connection matters. */
const SUITES = [
  ...[
    'aborts',
    'body-limit',
    'bulk-bodies',
    'connections',
    'crowded',
    'drain',
    'forwarding',
    'framing',
    'limits',
  ],
  ...[
    'observability',
    'oversized-heads',
    'pipelining',
    'pipelining-limits',
    'responses',
    'retries',
    'streaming',
  ],
].map((name) => `./${name}`);
const UPSTREAM_SUITES = ['connection-failures', 'connection-pool', 'streaming', 'uploads'].map(
  (name) => `../upstream/${name}`,
);

test('the short ways are taken where the probes find them equal, and never where the public ones are asked for', async () => {
  assert.equal(probeShortHeads(), true, 'this Node.js has what short heads need');
  assert.equal(await probeShortMessages(), true, 'and what short messages need');
  const { directReads, ...ways } = await innerWaysFor({});
  assert.notEqual(directReads, null, 'and what direct reads need');
  assert.deepEqual(ways, {
    writeHead: writeHeadShortly,
    writeText: writeTextShortly,
    messages: SHORT_MESSAGES,
  });
  assert.deepEqual(await innerWaysFor({ SLUICE_PUBLIC_HTTP_API: '1' }), {
    writeHead: writeHeadPublicly,
    writeText: writeTextPublicly,
    messages: PUBLIC_MESSAGES,
    directReads: null,
  });
});

test('a Node.js that does something else with messages gets its own', async (t) => {
  const request = SHORT_MESSAGES.IncomingMessage.prototype;
  const response = SHORT_MESSAGES.ServerResponse.prototype;
  const broken: [object, string, () => unknown][] = [
    [request, '_read', () => assert.fail('asked for more than there is')],
    [request, 'push', () => assert.fail('given what nobody reads')],
    [response, 'assignSocket', () => undefined],
    [response, 'detachSocket', () => undefined],
    [response, 'unfold', () => undefined],
  ];
  for (const [owner, name, instead] of broken) {
    const mocked = t.mock.method(owner as Record<string, () => unknown>, name, instead);
    assert.equal(await probeShortMessages(), false, name);
    mocked.mock.restore();
  }
  assert.equal(await probeShortMessages(), true);
});

test('a Node.js that keeps the head elsewhere is served the public way', (t) => {
  // The constructor of a response sets `_hasBody` first: from then on `_header` is not where it was.
  Object.defineProperty(FramedResponse.prototype, '_hasBody', {
    configurable: true,
    get: () => true,
    set(this: FramedResponse) {
      Object.defineProperty(this, '_header', { get: () => 'elsewhere', set: () => undefined });
    },
  });
  t.after(() => Reflect.deleteProperty(FramedResponse.prototype, '_hasBody'));
  assert.equal(probeShortHeads(), false);
});

test('the semantics tests hold on the public ways too', async () => {
  const files = [...SUITES, ...UPSTREAM_SUITES].map((name) =>
    fileURLToPath(new URL(`${name}.test.ts`, import.meta.url)),
  );
  const env = { SLUICE_PUBLIC_HTTP_API: '1', NODE_TEST_CONTEXT: undefined };
  // One at a time: others run beside this file already, and some of these have deadlines of a tenth of a second.
  const flags = ['--test', '--test-concurrency=1', '--test-reporter=tap'];
  const { code, stdout } = await runToEnd(process.execPath, [...flags, ...files], {
    timeoutMs: 240_000,
    env,
  });
  const failedAt = stdout.findIndex((line) => line.trimStart().startsWith('not ok'));
  assert.equal(failedAt, -1, stdout.slice(failedAt, failedAt + 40).join('\n'));
  assert.equal(code, 0, stdout.slice(-40).join('\n'));
});
