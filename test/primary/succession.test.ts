/** What the old primary takes back from a new one that does not serve. With whole processes: test/serve/primary-succession.test.ts. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { LbError } from '../../src/contract/errors.ts';
import { Succession } from '../../src/primary/succession.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';
import { keepLog } from './workers/fixtures/harness.ts';

type Options = ConstructorParameters<typeof Succession>[0];

/** A successor that ends once it is given everything, and parts that note each call and do what `steps` says. */
function scene(t: TestContext, steps: Record<string, () => unknown>) {
  const successor = join(tempFolder(t), 'successor.mjs');
  writeFileSync(successor, "process.on('message', () => process.exit(1)); process.send('take-over');");
  t.mock.property(process, 'argv', [process.execPath, successor]);
  const calls: string[] = [];
  const partOf = (part: string, names: string[]) =>
    Object.fromEntries(
      names.map((name) => [
        name,
        () => {
          calls.push(`${part}.${name}`);
          return steps[`${part}.${name}`]?.();
        },
      ]),
    );
  const { logger, lines } = keepLog();
  const parts = {
    sockets: { fds: () => [] },
    admin: partOf('admin', ['open', 'close']),
    health: partOf('health', ['lend', 'takeBack']),
    audit: partOf('audit', ['flush']),
    storage: partOf('storage', ['lend', 'takeBack']),
    revision: () => 1,
    logger,
  };
  return { succession: new Succession(parts as unknown as Options), calls, lines };
}

const GOES_ON = 'the new primary does not serve; this one goes on';
const RELEASED = ['admin.close', 'health.lend', 'audit.flush', 'storage.lend'];

test('nothing is taken back before all of it has been released', async (t) => {
  const { succession, calls, lines } = scene(t, {
    'admin.close': () => {
      process.kill(Number(lines[0]?.successor), 'SIGKILL');
      return waitFor('its end to be noticed', () => lines.some(({ msg }) => msg === GOES_ON));
    },
  });
  assert.equal(await succession.replace(), false);
  assert.deepEqual(calls, [...RELEASED, 'health.takeBack', 'storage.takeBack', 'admin.open']);
});

test('a database that is locked, or an admin port that is busy at first, keeps nothing else away', async (t) => {
  let attempts = 0;
  const { succession, calls, lines } = scene(t, {
    'storage.takeBack': () => {
      throw new LbError('folder_locked', 'in use');
    },
    'admin.open': async () => {
      attempts += 1;
      if (attempts === 1) throw new LbError('listen_failed', 'in use');
    },
  });
  assert.equal(await succession.replace(), false);
  assert.deepEqual(calls, [...RELEASED, 'health.takeBack', 'storage.takeBack', 'admin.open', 'admin.open']);
  assert.deepEqual(
    lines.slice(-2).map(({ msg }) => msg),
    ['cannot take the database back', 'cannot open the admin port again'],
  );
});

test('what could be released in part is taken back', async (t) => {
  const { succession, calls } = scene(t, { 'admin.close': () => Promise.reject(new Error('stuck')) });
  assert.equal(await succession.replace(), false);
  assert.deepEqual(calls, ['admin.close', 'health.takeBack', 'storage.takeBack', 'admin.open']);
});

test('a primary that is told to stop meanwhile takes nothing back', async (t) => {
  const { succession, calls } = scene(t, { 'admin.close': () => succession.abandon() });
  assert.equal(await succession.replace(), false);
  assert.deepEqual(calls, RELEASED);
});
