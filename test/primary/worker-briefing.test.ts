import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { PrimaryMessage } from '../../src/contract/messages.ts';
import { HealthRegistry } from '../../src/primary/health/health-registry.ts';
import { type Revision, WorkerBriefing } from '../../src/primary/worker-briefing.ts';
import type { WorkerLink } from '../../src/primary/workers/worker-link.ts';
import { keepLog, makePool } from './workers/fixtures/harness.ts';

type Parts = ConstructorParameters<typeof WorkerBriefing>[0];

/** A worker that records messages and acknowledges when the test says so. */
function makeLink(index = 0) {
  const sent: PrimaryMessage[] = [];
  const applied = Promise.withResolvers<unknown>();
  const exit = Promise.withResolvers<unknown>();
  const link = {
    index,
    alive: true,
    exited: exit.promise,
    send: (message: PrimaryMessage) => sent.push(message),
    waitFor: () => applied.promise,
  };
  const types = () => sent.map(({ type }) => type);
  const revisions = () => sent.flatMap((message) => (message.type === 'settings' ? [message.revision] : []));
  return { link: link as unknown as WorkerLink, sent, types, revisions, applied };
}

/** A briefing whose clients are loaded when the test says so. */
function makeBriefing({ loaded = true } = {}) {
  const arrived = Promise.withResolvers<boolean>();
  let known = false;
  const arrive = async () => {
    known = true;
    arrived.resolve(true);
    await nextTurn();
  };
  const streams = {
    waitFor: async () => void (await arrived.promise),
    knows: () => known,
  };
  const directory = { feed: { loaded }, streams, attach: () => arrived.promise };
  const registry = new HealthRegistry();
  registry.configure([makePool()]);
  const { logger, lines } = keepLog();
  const parts = { registry, directory, initial: revision(1), logger };
  return { briefing: new WorkerBriefing(parts as unknown as Parts), arrive, lines };
}

function revision(number: number): Revision {
  return { number, policyVersionUs: number * 1_000_000, settings: {} as Revision['settings'] };
}

test('a new worker gets settings behind the clients, with the states of the backends and the number of workers', async () => {
  const { briefing, arrive } = makeBriefing();
  briefing.storeWorkers = 4;
  const { link, types, sent } = makeLink();
  const briefed = briefing.brief(link);
  await nextTurn();
  assert.deepEqual(types(), []);
  await arrive();
  await briefed;
  assert.deepEqual(types(), ['settings']);
  const [settings] = sent;
  assert.ok(settings?.type === 'settings');
  assert.equal(settings.storeWorkers, 4);
  assert.deepEqual(
    settings.states.map(({ pool }) => pool),
    ['app'],
  );
});

test('a reload leaves out a worker that waits for its clients; it gets the new revision with them', async () => {
  const { briefing, arrive } = makeBriefing();
  const { link, revisions } = makeLink();
  const briefed = briefing.brief(link);
  await nextTurn();
  assert.deepEqual(await briefing.apply(revision(2)), []);
  assert.deepEqual(revisions(), [], 'with settings it would listen');
  await arrive();
  await briefed;
  assert.deepEqual(revisions(), [2]);
});

test('a reload names the workers that have not acknowledged it', async () => {
  const { briefing, arrive, lines } = makeBriefing();
  await arrive();
  const [quick, slow, gone] = [makeLink(0), makeLink(1), makeLink(2)];
  for (const { link } of [quick, slow, gone]) await briefing.brief(link);
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

test('before the first load of clients a worker serves with limits of an old date, and gets the real one with them', async () => {
  const { briefing, arrive } = makeBriefing({ loaded: false });
  const { link, sent } = makeLink();
  await briefing.brief(link);
  await arrive();
  const versions = sent.flatMap((message) => (message.type === 'settings' ? [message.policyVersionUs] : []));
  assert.deepEqual(versions, [1_000, 1_000_000]);
});
