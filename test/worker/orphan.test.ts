import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, readdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { ORPHAN_CONTROL, ORPHAN_DRAIN, ORPHAN_SOCKETS } from '../../src/contract/orphans.ts';
import { makeLogger } from '../../src/infra/logging/logger.ts';
import { waitForSuccessor } from '../../src/worker/orphan.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

test('B39: a worker whose primary died is found although a killed one of its number has left its files', async (t) => {
  const folder = tempFolder(t);
  chmodSync(folder, 0o700);
  const [control, sockets] = [ORPHAN_CONTROL, ORPHAN_SOCKETS].map((suffix) =>
    join(folder, `${process.pid}${suffix}`),
  );
  for (const path of [control, sockets]) writeFileSync(path ?? '', '');
  const lines: string[] = [];
  const logger = makeLogger(
    { level: 'info', format: 'json' },
    { fields: {}, out: { write: (line) => lines.push(line) } },
  );
  const note = { keys: ['*:80'], socketCount: 0, drainMs: 1_000 };
  let isRelieved: boolean | null = null;
  const waiting = waitForSuccessor({ folder, note, fds: [], graceMs: 20_000, logger }).then((relieved) => {
    isRelieved = relieved;
  });
  const tryToConnect = async (): Promise<boolean> => {
    const primary = connect({ path: control ?? '' });
    t.after(() => primary.destroy());
    primary.on('error', () => primary.destroy());
    await Promise.race([once(primary, 'connect'), once(primary, 'close')]);
    return !primary.destroyed && primary.end(ORPHAN_DRAIN) !== undefined;
  };
  await waitFor('the worker to listen', tryToConnect);
  await waiting;
  assert.equal(isRelieved, true);
  assert.deepEqual(lines, []);
  assert.deepEqual(readdirSync(folder), []);
});
