import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { DirectoryChange } from '../../src/clients/directory-feed.ts';
import { RecordTable } from '../../src/clients/record-table.ts';
import type { PrimaryMessage, WorkerMessage } from '../../src/contract/messages.ts';
import { DirectoryStreams } from '../../src/primary/clients/directory-streams.ts';
import { HealthRegistry } from '../../src/primary/health/health-registry.ts';
import { type Revision, secretsOf, WorkerBriefing } from '../../src/primary/worker-briefing.ts';
import type { WorkerLink } from '../../src/primary/workers/worker-link.ts';
import { healthCheckSettings } from '../support/settings.ts';
import { waitFor } from '../support/wait.ts';
import { keepLog, makePool } from './workers/fixtures/harness.ts';

type Parts = ConstructorParameters<typeof WorkerBriefing>[0];

/** A worker that records messages and acknowledges when the test says so. */
function makeLink(index = 0) {
  const sent: PrimaryMessage[] = [];
  const listeners: ((message: WorkerMessage) => void)[] = [];
  const applied = Promise.withResolvers<unknown>();
  const exit = Promise.withResolvers<unknown>();
  const link = {
    index,
    alive: true,
    exited: exit.promise,
    send: (message: PrimaryMessage) => sent.push(message),
    onMessage: (listener: (message: WorkerMessage) => void) => listeners.push(listener),
    waitFor: () => applied.promise,
  };
  const types = () => sent.map(({ type }) => type);
  const revisions = () => sent.flatMap((message) => (message.type === 'settings' ? [message.revision] : []));
  const versions = () =>
    sent.flatMap((message) => (message.type === 'settings' ? [message.policyVersionUs] : []));
  /** Waits for the clients, and acknowledges them. */
  const learn = async () => {
    await waitFor('the clients', () => types().includes('clients'));
    for (const hear of listeners) hear({ type: 'clients-applied', part: 1 });
    await nextTurn();
  };
  return { link: link as unknown as WorkerLink, sent, types, revisions, versions, applied, learn };
}

/** A briefing whose clients are loaded, or cannot be, when the test says so. */
function makeBriefing({ loaded = true } = {}) {
  const firstTry = Promise.withResolvers<void>();
  const listeners: ((change: DirectoryChange) => void)[] = [];
  const onChange = (listener: (change: DirectoryChange) => void) => void listeners.push(listener);
  const feed = { table: new RecordTable(), loaded: false, firstTry: firstTry.promise, onChange };
  const streams = new DirectoryStreams(feed);
  const load = () => {
    feed.loaded = true;
    firstTry.resolve();
    for (const hear of listeners) hear({ records: Buffer.alloc(0), shards: [] });
  };
  if (loaded) load();
  const directory = { feed, streams, attach: (link: WorkerLink) => streams.attach(link) };
  const registry = new HealthRegistry();
  registry.configure([makePool()]);
  const { logger, lines } = keepLog();
  const parts = { registry, directory, initial: revision(1), logger };
  return { briefing: new WorkerBriefing(parts as unknown as Parts), load, fail: firstTry.resolve, lines };
}

function revision(number: number, workerCount = 2): Revision {
  return {
    number,
    workerCount,
    policyVersionUs: number * 1_000_000,
    settings: { listen: [], pools: [], workers: 'auto' } as unknown as Revision['settings'],
  };
}

test('a new worker gets settings behind the clients, with the states of the backends and the number of workers', async () => {
  const { briefing } = makeBriefing();
  briefing.storeWorkers = 4;
  const { link, types, sent, learn } = makeLink();
  const briefed = briefing.brief(link);
  await waitFor('the clients', () => types().includes('clients'));
  assert.deepEqual(types(), ['clients'], 'no settings before it has them');
  await learn();
  await briefed;
  assert.deepEqual(types(), ['clients', 'settings']);
  const settings = sent[1];
  assert.ok(settings?.type === 'settings');
  assert.equal(settings.storeWorkers, 4);
  assert.deepEqual(
    settings.states.map(({ pool }) => pool),
    ['app'],
  );
});

test('workers are told nothing that secretsOf names', async () => {
  const { briefing } = makeBriefing();
  const { link, sent, applied, learn } = makeLink();
  await Promise.all([briefing.brief(link), learn()]);
  applied.resolve({});
  const headers = { authorization: 'Bearer probe-secret' };
  const healthCheck = healthCheckSettings({ path: '/live?key=path-secret', headers });
  const settings = {
    ...revision(2).settings,
    admin: { token: 'token-secret', readToken: 'read-secret' },
    database: { url: 'postgres://app:database-secret@db/app' },
    secrets: { apiKeys: 'key-secret' },
    pools: [makePool({ healthCheck })],
  } as unknown as Revision['settings'];
  await briefing.apply({ ...revision(2), settings });
  assert.ok(!JSON.stringify(sent).includes('secret'));
  const named = secretsOf(settings).filter((each) => each.includes('secret'));
  assert.equal(named.length, 6);
});

test('B32: workers that a reload adds share the store at once, also while it is away; that there are fewer, the heartbeat says', async () => {
  const { briefing } = makeBriefing();
  briefing.storeWorkers = 6;
  const { link, sent, applied, learn } = makeLink();
  await Promise.all([briefing.brief(link), learn()]);
  applied.resolve({});
  for (const workers of [8, 3, 1]) await briefing.apply(revision(workers, workers));
  briefing.storeWorkers = 5;
  await briefing.apply(revision(9, 4));
  const told = sent.flatMap((message) => (message.type === 'settings' ? [message.storeWorkers] : []));
  assert.deepEqual(told, [6, 12, 7, 6, 8]);
});

test('a reload leaves out a worker that waits for its clients; it gets the new revision with them', async () => {
  const { briefing } = makeBriefing();
  const { link, revisions, learn } = makeLink();
  const briefed = briefing.brief(link);
  await nextTurn();
  assert.deepEqual(await briefing.apply(revision(2)), []);
  assert.deepEqual(revisions(), [], 'with settings it would listen');
  await learn();
  await briefed;
  assert.deepEqual(revisions(), [2]);
});

test('a reload names the workers that have not acknowledged it', async () => {
  const { briefing, lines } = makeBriefing();
  const [quick, slow, gone] = [makeLink(0), makeLink(1), makeLink(2)];
  for (const { link, learn } of [quick, slow, gone]) await Promise.all([briefing.brief(link), learn()]);
  quick.applied.resolve({});
  slow.applied.reject(new Error('no acknowledgement'));
  Object.assign(gone.link, { alive: false });
  gone.applied.reject(new Error('gone'));
  assert.deepEqual(await briefing.apply(revision(2)), [1]);
  assert.deepEqual(
    lines.map(({ worker }) => worker),
    [1],
  );
});

test('a worker of the start waits for the first load of clients, and gets settings of the real date behind them', async () => {
  const { briefing, load } = makeBriefing({ loaded: false });
  const { link, types, versions, learn } = makeLink();
  const briefed = briefing.brief(link);
  for (let turn = 0; turn < 3; turn++) await nextTurn();
  assert.deepEqual(types(), []);
  load();
  await learn();
  await briefed;
  assert.deepEqual(versions(), [1_000_000]);
});

test('while the clients cannot be loaded a worker serves with limits of an old date, and gets the real one with them', async () => {
  const { briefing, load, fail } = makeBriefing({ loaded: false });
  const { link, versions, learn } = makeLink();
  fail();
  await briefing.brief(link);
  assert.deepEqual(versions(), [1_000]);
  load();
  await learn();
  assert.deepEqual(versions(), [1_000, 1_000_000]);
});

test('a worker waits no longer than 5 s for the first load', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { briefing } = makeBriefing({ loaded: false });
  const { link, types, versions } = makeLink();
  const briefed = briefing.brief(link);
  t.mock.timers.tick(4_999);
  await nextTurn();
  assert.deepEqual(types(), []);
  t.mock.timers.tick(1);
  await briefed;
  assert.deepEqual(versions(), [1_000]);
});

test('workers have the open challenges of certificate authorities before the authority is called, new ones before they listen', async () => {
  const { briefing } = makeBriefing();
  const challenges = Array.from({ length: 101 }, (_, i) => ({ token: `t${i}`, keyAuthorization: `t${i}.k` }));
  const first = makeLink();
  const briefed = briefing.brief(first.link);
  await first.learn();
  await briefed;
  let told = false;
  const telling = briefing.tellChallenges(challenges).then(() => {
    told = true;
  });
  await nextTurn();
  assert.equal(told, false, 'the worker has not acknowledged them');
  first.applied.resolve(undefined);
  await telling;
  const sent = first.sent.at(-1);
  assert.ok(sent?.type === 'acme-challenges');
  assert.deepEqual([sent.version, sent.challenges.length, sent.challenges.at(-1)?.token], [1, 100, 't100']);

  const second = makeLink(1);
  const later = briefing.brief(second.link);
  await second.learn();
  await later;
  assert.deepEqual(second.types(), ['clients', 'acme-challenges', 'settings']);
});
