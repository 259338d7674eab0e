/** The two ways of a head into node's response: both must serve, and the short one only where it does the same. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  FramedResponse,
  headWriterFor,
  probeShortHeads,
  writeHeadPublicly,
  writeHeadShortly,
} from '../../src/worker/response-heads.ts';
import { runToEnd } from '../support/child.ts';

/** Where the head of an answer, its framing or the end of its connection matters. */
const SUITES = [
  ...['aborts', 'body-limit', 'connections', 'drain', 'forwarding', 'framing', 'observability'],
  ...['oversized-heads', 'pipelining', 'responses', 'retries', 'streaming'],
];

test('the short way is taken where the probe finds it equal, and never where the public one is asked for', () => {
  assert.equal(probeShortHeads(), true, 'this Node.js has what the short way needs');
  assert.equal(headWriterFor({}), writeHeadShortly);
  assert.equal(headWriterFor({ SLUICE_PUBLIC_HTTP_API: '1' }), writeHeadPublicly);
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

test('the semantics tests of the proxy hold on the public way too', async () => {
  const files = SUITES.map((name) => fileURLToPath(new URL(`${name}.test.ts`, import.meta.url)));
  const env = { SLUICE_PUBLIC_HTTP_API: '1', NODE_TEST_CONTEXT: undefined };
  // Several at a time: mostly they wait.
  const flags = ['--test', '--test-concurrency=3', '--test-reporter=tap'];
  const { code, stdout } = await runToEnd(process.execPath, [...flags, ...files], {
    timeoutMs: 120_000,
    env,
  });
  const failed = stdout.filter((line) => line.trimStart().startsWith('not ok'));
  assert.deepEqual(failed, []);
  assert.equal(code, 0, stdout.slice(-40).join('\n'));
});
