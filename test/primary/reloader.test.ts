/** The steps of a reload that fail where no file can be at fault. What a file can cause: test/serve/reload*.test.ts. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { loadConfig } from '../../src/config/load.ts';
import type { Logger } from '../../src/infra/logging/logger.ts';
import { EventLog } from '../../src/primary/events/event-log.ts';
import { Reloader, type ReloaderOptions } from '../../src/primary/reloader.ts';
import type { SettingsChange } from '../../src/primary/settings-change.ts';
import { tempFolder } from '../support/temp-folder.ts';

const LINES = [
  'listen: [{ address: "127.0.0.1:0" }]',
  'pools: { app: { backends: [{ url: http://127.0.0.1:1 }] } }',
];

/** A reloader with one change, whose parts do nothing but note that they were called. */
function reloaderWith(t: TestContext, change: SettingsChange | null, lines: string[] = []) {
  const configPath = join(tempFolder(t), 'sluice.yaml');
  writeFileSync(configPath, [...LINES, ...lines].join('\n'));
  const loaded = loadConfig(configPath, {});
  assert.ok('settings' in loaded);
  const calls: string[] = [];
  const note = (call: string) => () => {
    calls.push(call);
  };
  const logger = { info: note('info'), warn: note('warn'), error: note('error') };
  const options = {
    configPath,
    env: {},
    initial: { number: 1, settings: loaded.settings, workerCount: 77, policyVersionUs: 1 },
    digest: loaded.digest,
    log: { logger, configure: note('log') },
    events: new EventLog(logger as unknown as Logger),
    storage: {},
    health: { prepare: note('probe'), configure: note('health') },
    directory: { configure: note('directory') },
    collector: { keepOnly: note('metrics') },
    briefing: { apply: () => Promise.resolve([]), tellLogLevel: note('level') },
    acme: { configure: note('acme') },
    tls: { configure: note('tls') },
    prepare: { database: () => Promise.resolve(change) },
    links: () => [],
    resize: note('resize'),
    onFileChange: () => undefined,
  };
  const reloader = new Reloader(options as unknown as ReloaderOptions);
  t.after(() => reloader.close());
  return { reloader, calls };
}

test('a reload is accepted although a part of the old configuration cannot be closed', async (t) => {
  const finish = () => Promise.reject(new Error('stuck'));
  const { reloader, calls } = reloaderWith(t, { commit: () => finish, cancel: () => undefined });
  assert.deepEqual(await reloader.reload(), { ok: true, revision: 2, pendingWorkers: [] });
  assert.deepEqual(calls.slice(-3), ['error', 'resize', 'info']);
});

test('a database whose clock cannot be read refuses a reload before it has changed anything', async (t) => {
  let cancelled = 0;
  const { reloader, calls } = reloaderWith(t, {
    commit: () => assert.fail('it came into force'),
    cancel: () => {
      cancelled += 1;
    },
    nowUs: () => Promise.reject(new Error('gone')),
  });
  const outcome = await reloader.reload();
  assert.equal(outcome.ok, false);
  assert.equal(cancelled, 1);
  assert.equal(reloader.current.number, 1);
  assert.deepEqual(calls, ['error', 'error']);
});

test('a log level that is set while a reload is under way outlasts it, and not the next one', async (t) => {
  let during = (): void => undefined;
  const change = {
    nowUs: async () => during(),
    commit: () => async () => undefined,
    cancel: () => undefined,
  };
  const { reloader } = reloaderWith(t, change as unknown as SettingsChange);
  during = () => reloader.setLogLevel('debug', {});
  assert.equal((await reloader.reload()).ok, true);
  assert.equal(reloader.current.settings.log.level, 'debug');
  during = () => undefined;
  assert.equal((await reloader.reload()).ok, true);
  assert.equal(reloader.current.settings.log.level, 'info');
});

test('auto means the CPUs at the reload, with reuse_port those at the start', async (t) => {
  const auto = 'workers: auto';
  for (const [lines, count] of [
    [[auto], availableParallelism()],
    [[auto, 'accept: reuse_port'], 77],
  ] as const) {
    const { reloader } = reloaderWith(t, null, [...lines]);
    assert.equal((await reloader.reload()).ok, true);
    assert.equal(reloader.current.workerCount, count);
  }
});
