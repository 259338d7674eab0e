import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { WORKER_PLACE } from '../../src/contract/messages.ts';
import { PROTOCOL_VERSION } from '../../src/infra/protocol-version.ts';
import { runToEnd } from '../support/child.ts';

const MAIN = fileURLToPath(new URL('../../src/worker/main.ts', import.meta.url));

test('a worker whose files were replaced under a running primary says what to do and ends', async () => {
  const place = { workerIndex: 0, workerCount: 1, log: { level: 'info', format: 'json' }, listenFds: {} };
  for (const given of [undefined, {}, place, { ...place, protocol: PROTOCOL_VERSION - 1 }]) {
    const env = { [WORKER_PLACE]: given === undefined ? undefined : JSON.stringify(given) };
    const ended = await runToEnd(process.execPath, [MAIN], { env });
    assert.deepEqual(ended.stderr, [
      "this worker's files are of another version than its primary: restart Sluice",
    ]);
    assert.equal(ended.code, 1);
  }
});
