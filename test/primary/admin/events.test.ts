/** The stream of events of a real admin port, with parts of the test. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FastifyReply } from 'fastify';
import type { AdminApp } from '../../../src/primary/admin/app.ts';
import { EventStreams } from '../../../src/primary/admin/event-streams.ts';
import { readEvents } from '../../support/event-stream.ts';
import { waitFor, within } from '../../support/wait.ts';
import { type Admin, assertProblem, startAdmin } from './harness.ts';

const PATH = '/api/v1/events';
const record = ({ parts }: Admin, text: string) =>
  parts.events.record({ kind: 'instance', severity: 'info', text, subject: null });
/** All workers of the parts have reported. */
const sample = ({ parts }: Admin) => {
  for (const pid of [4711, 4712]) parts.board.reported(pid);
};

test('a reader gets the newest 200 entries, a sample, and then once a second what is new', async (t) => {
  // The stream outlives the deadline of other calls.
  const admin = await startAdmin(t, { options: { handlerMs: 20 } });
  for (let i = 0; i < 250; i++) record(admin, `entry ${i}`);
  const { events, response } = await readEvents(t, `${admin.url}${PATH}`);
  assert.equal(response.headers['content-type'], 'text/event-stream; charset=utf-8');
  assert.equal(response.headers['cache-control'], 'no-store');
  await waitFor('the first sample', () => events.some(({ event }) => event === 'sample'));
  assert.deepEqual(
    events.map(({ event, data }) => [event, data.text]),
    [...Array.from({ length: 200 }, (_, i) => ['change', `entry ${50 + i}`]), ['sample', undefined]],
  );
  const { now, problems, workers, routes, policies, slowestRoute, pools } = events.at(-1)?.data ?? {};
  assert.ok(now && problems && workers && routes && policies && slowestRoute === null);
  assert.deepEqual(pools, ((await admin.call({ path: '/api/v1/pools' })).json as { items: unknown }).items);
  const seen = events.length;
  record(admin, 'one');
  record(admin, 'two');
  sample(admin);
  await waitFor('what is new', () => events.length === seen + 3);
  assert.deepEqual(
    events.slice(seen).map(({ event, data }) => [event, data.text]),
    [
      ['change', 'one'],
      ['change', 'two'],
      ['sample', undefined],
    ],
  );
  assert.equal(events[seen]?.id, String(events[seen]?.data.number));
});

test('a reader that comes back gets what it has missed, and nothing twice', async (t) => {
  const admin = await startAdmin(t);
  for (let i = 0; i < 5; i++) record(admin, `entry ${i}`);
  const other = await readEvents(t, `${admin.url}${PATH}`);
  await waitFor('the first reader', () => other.events.length > 0);
  record(admin, 'entry 5');
  const textsAfter = async (id: string) => {
    const { events } = await readEvents(t, `${admin.url}${PATH}`, { headers: { 'last-event-id': id } });
    await waitFor('its sample', () => events.some(({ event }) => event === 'sample'));
    return () => events.filter(({ event }) => event === 'change').map(({ data }) => data.text);
  };
  const numberOf = (i: number) => String(admin.parts.events.entries[i]?.number);
  const texts = await textsAfter(numberOf(2));
  const all = await textsAfter('9007199254740993');
  assert.deepEqual(texts(), ['entry 3', 'entry 4']);
  assert.equal(all().length, 5, 'a number of nobody is no number');
  sample(admin);
  await waitFor('the entry that was not told yet', () => texts().length === 3);
  assert.deepEqual(texts(), ['entry 3', 'entry 4', 'entry 5']);
});

test('a sample has the newest second of the history, beside the means of ten', async (t) => {
  const admin = await startAdmin(t);
  const { events } = await readEvents(t, `${admin.url}${PATH}`);
  sample(admin);
  await waitFor('a sample', () => events.length === 2);
  const { endsAt: _, ...newest } = admin.parts.board.history(1);
  const { endsAt, ...sent } = events[1]!.data.history as ReturnType<typeof admin.parts.board.history>;
  assert.deepEqual(sent, newest);
  assert.ok(Math.abs(Date.now() - Date.parse(endsAt)) < 60_000, endsAt);
});

test('who comes while the port closes is told so', async () => {
  const closers: (() => Promise<void>)[] = [];
  const app = { addHook: (_name: string, close: () => Promise<void>) => closers.push(close) };
  const streams = new EventStreams(app as unknown as AdminApp, 50);
  for (const close of closers) await close();
  assert.throws(() => streams.open({} as FastifyReply), { status: 503, message: 'the admin port closes' });
});

test('hostile names arrive as they are, in one event', async (t) => {
  const admin = await startAdmin(t);
  const { settings, registry } = admin.parts;
  const name = `</script><img src=x onerror=alert(1)>\r\n\r\nevent: change\ndata: {}\n\n\u2028\u0000\ud800`;
  const [pool] = settings.pools.map((each) => ({
    ...each,
    backends: each.backends.map((backend) => ({ ...backend, id: name })),
  }));
  admin.parts.settings = { ...settings, pools: [pool!] };
  registry.configure(admin.parts.settings.pools);
  const { events } = await readEvents(t, `${admin.url}${PATH}`);
  await waitFor('a sample', () => events.length === 1);
  record(admin, name);
  sample(admin);
  await waitFor('the entry', () => events.length === 3);
  assert.deepEqual([events[1]?.event, events[1]?.data.text], ['change', name]);
  assert.equal((events[2]!.data.pools as (typeof pool)[])[0]?.backends[0]?.id, name);
});

test('a reader that does not read is cut, and the others get everything', async (t) => {
  const admin = await startAdmin(t);
  const stalled = await readEvents(t, `${admin.url}${PATH}`, { isPaused: true });
  const { events } = await readEvents(t, `${admin.url}${PATH}`);
  const long = 'x'.repeat(500);
  // 20 MB: more than the kernel holds for a connection, and 1 MiB.
  for (let round = 1; round <= 40; round++) {
    for (let i = 0; i < 400; i++)
      admin.parts.events.record(
        { kind: 'admin', severity: 'info', text: long, data: { long } },
        { line: null },
      );
    sample(admin);
    await waitFor('the other one to have all', () => events.length >= round * 401);
  }
  let stalledBytes = 0;
  stalled.response.on('data', (chunk: string) => {
    stalledBytes += chunk.length;
  });
  await waitFor('the end of the stalled one', stalled.isOver);
  assert.equal(stalled.response.complete, false);
  assert.ok(stalledBytes < 12_000_000, `${stalledBytes} bytes were kept for it`);
});

test('nothing is made while nobody reads, and at most 50 read', async (t) => {
  const admin = await startAdmin(t);
  let made = 0;
  const live = admin.parts.board.live.bind(admin.parts.board);
  admin.parts.board.live = () => {
    made++;
    return live();
  };
  sample(admin);
  assert.equal(made, 0);
  const url = `${admin.url}${PATH}`;
  const readers = await Promise.all(Array.from({ length: 50 }, () => readEvents(t, url)));
  assert.equal(made, 1, 'once for all');
  const refused = await admin.call({ path: PATH });
  assertProblem(refused, 503);
  assert.ok(Number(refused.headers['retry-after']) > 0);
  sample(admin);
  assert.equal(made, 2);
  for (const reader of readers) reader.close();
  await waitFor('all to be gone', () => {
    const before = made;
    sample(admin);
    return made === before;
  });
  assert.equal((await admin.call({ path: PATH, method: 'HEAD' })).status, 405);
});

test('a comment keeps a silent stream open, and the end of the admin port ends it at once', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const admin = await startAdmin(t, { options: { closeMs: 10_000 } });
  const reader = await readEvents(t, `${admin.url}${PATH}`);
  await readEvents(t, `${admin.url}${PATH}`, { isPaused: true });
  t.mock.timers.tick(15_000);
  await waitFor('a comment', () => reader.comments.length === 1);
  await within(admin.close(), 2_000, 'the close');
  await waitFor('the end', reader.isOver);
  assert.equal(reader.response.complete, true);
});
