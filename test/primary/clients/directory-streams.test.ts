import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { ClientDirectory, type ClientsMessage } from '../../../src/clients/client-directory.ts';
import type { DirectoryChange } from '../../../src/clients/directory-feed.ts';
import { lengthAt, RecordPacker } from '../../../src/clients/packed-record.ts';
import { RecordTable } from '../../../src/clients/record-table.ts';
import { systemClock } from '../../../src/contract/clock.ts';
import { CLIENTS_PART_BYTES, type WorkerMessage } from '../../../src/contract/messages.ts';
import { atMost } from '../../../src/infra/with-deadline.ts';
import {
  DirectoryStreams,
  MAX_UNACKNOWLEDGED_BYTES,
  type StreamLink,
} from '../../../src/primary/clients/directory-streams.ts';
import { clientCountOf } from '../../clients/counts.ts';
import { waitFor } from '../../support/wait.ts';

const packer = new RecordPacker();

/** A feed without a database: a table and its listeners. */
class Feed {
  readonly table = new RecordTable();
  loaded = false;
  #versionUs = 0;
  readonly #listeners: ((change: DirectoryChange) => void)[] = [];

  onChange(listener: (change: DirectoryChange) => void): void {
    this.#listeners.push(listener);
  }

  load(ids: readonly string[]): void {
    for (const id of ids) this.table.put(this.#pack(id, false), 0);
    this.loaded = true;
    this.#emit({ records: Buffer.alloc(0), shards: [] });
  }

  /** The messages after a change of the database: versions restart, and missing clients get tombstones. */
  become(ids: readonly string[], before: readonly string[]): void {
    this.#versionUs = 0;
    const kept = new Set(ids);
    this.change(ids);
    this.change(
      before.filter((id) => !kept.has(id)),
      true,
    );
  }

  /** About one change per 1,000 ids, as large as possible. */
  change(ids: readonly string[], deleted = false): void {
    let records: Buffer[] = [];
    let shards: number[] = [];
    let bytes = 0;
    const flush = (): void => {
      if (bytes > 0) this.#emit({ records: Buffer.concat(records), shards });
      [records, shards, bytes] = [[], [], 0];
    };
    for (const id of ids) {
      const record = Buffer.from(this.#pack(id, deleted));
      if (bytes + record.length > CLIENTS_PART_BYTES) flush();
      const shard = this.table.put(record, 0);
      if (shard === -1) continue;
      shards.push(shard);
      records.push(record);
      bytes += record.length;
    }
    flush();
  }

  #pack(id: string, deleted: boolean): Buffer {
    const versionUs = ++this.#versionUs;
    if (deleted) return packer.tombstone(id, versionUs);
    const limits = { default: { capacity: versionUs, refillPerSecond: 1 } };
    return packer.client({ clientId: id, mode: 'limit', limits, versionUs });
  }

  #emit(change: DirectoryChange): void {
    for (const listener of this.#listeners) listener(change);
  }
}

/** A worker that reads messages when the test says so. */
class Worker implements StreamLink {
  readonly index: number;
  readonly directory = new ClientDirectory(systemClock);
  readonly inbox: ClientsMessage[] = [];
  readonly sizes: number[] = [];
  readonly #exit = Promise.withResolvers<void>();
  readonly exited = this.#exit.promise;
  #say: (message: WorkerMessage) => void = () => undefined;
  receivedCount = 0;
  maxInboxBytes = 0;

  constructor(index = 0) {
    this.index = index;
  }

  send(message: Parameters<StreamLink['send']>[0]): void {
    assert.ok(message.type === 'clients');
    this.inbox.push(message);
    this.receivedCount++;
    const bytes = this.inbox.reduce((sum, { records }) => sum + Buffer.byteLength(records, 'base64'), 0);
    this.maxInboxBytes = Math.max(this.maxInboxBytes, bytes);
    this.sizes.push(Buffer.byteLength(message.records, 'base64'));
  }

  onMessage(listener: (message: WorkerMessage) => void): () => void {
    this.#say = listener;
    return () => undefined;
  }

  /** Reads the next message; false: there is none. */
  take(): boolean {
    const message = this.inbox.shift();
    if (message === undefined) return false;
    assert.ok(this.directory.apply(message));
    this.#say({ type: 'clients-applied', part: message.part });
    return true;
  }

  serve(): void {
    this.#say({ type: 'ready', revision: 1 });
  }

  exit(): void {
    this.#exit.resolve();
  }
}

/** A sample of the ids in the table and in the directory. */
function assertSame({ table }: Feed, { directory }: Worker, ids: readonly string[]): void {
  assert.equal(clientCountOf(directory.table), clientCountOf(table));
  for (let i = 0; i < ids.length; i += 7) {
    const id = ids[i] ?? '';
    const entry = table.get(id);
    assert.deepEqual(directory.byName(id), entry?.client ?? null, id);
    const tombstoneUs = entry?.client === null ? entry.versionUs : 0;
    if (entry === null || entry.client === null)
      assert.equal(directory.byAddress('nobody', id).tombstoneUs, tombstoneUs, id);
  }
}

/** All workers read until there are no more messages. */
async function settle(...workers: Worker[]): Promise<void> {
  for (let quietTurns = 0; quietTurns < 3; ) {
    const took = workers.filter((worker) => worker.take()).length;
    quietTurns = took > 0 ? 0 : quietTurns + 1;
    await nextTurn();
  }
}

const idsUpTo = (count: number) =>
  Array.from({ length: count }, (_, n) => `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`);

test('a worker that does not read gets only a few parts, and all of them when it reads again', async () => {
  const feed = new Feed();
  const streams = new DirectoryStreams(feed);
  const ids = idsUpTo(30_000);
  feed.load(ids);
  const worker = new Worker();
  const informed = streams.attach(worker);
  await waitFor('the first parts', () => worker.inbox.length >= 4);
  for (let turn = 0; turn < 5; turn++) await nextTurn();
  assert.equal(worker.inbox.length, 4);
  // Changes overtake waiting parts while there is room; without room they are not lost.
  for (let round = 0; round < 2; round++) feed.change(ids);
  feed.change(ids.slice(0, 10), true);
  assert.ok(worker.maxInboxBytes <= MAX_UNACKNOWLEDGED_BYTES);
  assert.ok(worker.maxInboxBytes > MAX_UNACKNOWLEDGED_BYTES - CLIENTS_PART_BYTES);
  assert.deepEqual([streams.knows(worker), clientCountOf(worker.directory.table)], [false, 0]);
  await settle(worker);
  assert.ok(await informed);
  assert.ok(streams.knows(worker));
  assert.ok(worker.sizes.every((bytes) => bytes <= CLIENTS_PART_BYTES));
  assertSame(feed, worker, ids);
  // From now on each change is one message.
  const before = worker.receivedCount;
  feed.change(['192.0.2.1']);
  assert.deepEqual([worker.receivedCount - before, worker.sizes.at(-1)], [1, 28]);
  assert.equal(lengthAt(Buffer.from(worker.inbox[0]?.records ?? '', 'base64'), 0), 28);
  await settle(worker);
  assert.ok(worker.directory.byName('192.0.2.1'));
});

test('after any order of changes, changes of database, slow and dying workers, all have the same clients', async () => {
  const ids = idsUpTo(3_000);
  const some = fc
    .tuple(fc.nat(ids.length - 1), fc.nat(1_500))
    .map(([from, count]) => ids.slice(from, from + count));
  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ kind: fc.constant('take' as const), worker: fc.nat(2), count: fc.nat(12) }),
    },
    {
      weight: 4,
      arbitrary: fc.record({ kind: fc.constant('change' as const), deleted: fc.boolean(), ids: some }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('replace' as const), ids: some }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('move' as const), ids: some }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const), worker: fc.nat(2) }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('turn' as const) }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      let feed = new Feed();
      const streams = new DirectoryStreams(feed);
      const workers = Array.from({ length: 3 }, () => new Worker());
      for (const worker of workers) void streams.attach(worker);
      feed.load(ids);
      for (const each of steps) {
        if (each.kind === 'take') for (let i = 0; i < each.count; i++) workers[each.worker]?.take();
        else if (each.kind === 'change') feed.change(each.ids, each.deleted);
        else if (each.kind === 'replace') feed.become(each.ids, ids);
        else if (each.kind === 'turn') await nextTurn();
        else if (each.kind === 'move') {
          feed = new Feed();
          feed.load(each.ids);
          streams.follow(feed);
        } else {
          workers[each.worker]?.exit();
          await nextTurn();
          const fresh = new Worker();
          workers[each.worker] = fresh;
          void streams.attach(fresh);
        }
      }
      await settle(...workers);
      for (const worker of workers) {
        assert.ok(streams.knows(worker));
        assertSame(feed, worker, ids);
      }
    }),
    { numRuns: 20 },
  );
});

test('the wait for a worker ends with the full set, or with the worker', async () => {
  const feed = new Feed();
  const streams = new DirectoryStreams(feed);
  const [slow, dying] = [new Worker(), new Worker()];
  const informed = streams.attach(slow);
  const gone = streams.attach(dying);
  assert.equal(await atMost(informed, 10), false);
  assert.deepEqual(
    [slow.receivedCount, streams.knows(slow)],
    [0, false],
    'nothing was loaded, nothing is sent',
  );
  feed.load([]);
  dying.exit();
  assert.equal(await gone, false);
  await settle(slow);
  assert.ok((await informed) && streams.knows(slow));
  assert.deepEqual(
    [slow.receivedCount, clientCountOf(slow.directory.table)],
    [1, 0],
    'an empty set is one message',
  );
  // Another database: the worker keeps its clients until it has the new set.
  feed.become(['a'], []);
  assert.ok(streams.knows(slow));
});

test('a worker knows the clients of another database all at once, and those of before until then', async () => {
  const [before, after] = [new Feed(), new Feed()];
  const streams = new DirectoryStreams(before);
  const worker = new Worker();
  void streams.attach(worker);
  before.load(['old', 'both']);
  await settle(worker);
  const ids = idsUpTo(10_000);
  after.load(['both', ...ids]);
  streams.follow(after);
  before.change(['late']);
  const known = () => ['old', 'both', 'late', ids[0] ?? ''].map((id) => worker.directory.byName(id) !== null);
  let parts = 0;
  while (known()[0] === true) {
    assert.deepEqual(known(), [true, true, false, false]);
    assert.ok(streams.knows(worker), 'its settings need not be blind meanwhile');
    await waitFor('a part', () => worker.take());
    parts++;
  }
  assert.ok(parts > 3);
  assert.deepEqual(known(), [false, true, false, true]);
  assert.equal(clientCountOf(worker.directory.table), ids.length + 1);
});

test('allTold waits for earlier messages of every worker, and for no worker that has exited', async () => {
  const feed = new Feed();
  const streams = new DirectoryStreams(feed);
  const [one, other] = [new Worker(), new Worker()];
  for (const worker of [one, other]) void streams.attach(worker);
  feed.load(['a']);
  await settle(one, other);
  await streams.allTold();
  feed.change(['b']);
  let told = false;
  const done = streams.allTold().then(() => {
    told = true;
  });
  await settle(one);
  assert.deepEqual([told, one.directory.byName('b') === null], [false, false]);
  other.exit();
  await done;
});

test('untold names the workers that serve or drain, each number once, and none that starts', async () => {
  const feed = new Feed();
  const streams = new DirectoryStreams(feed);
  const workers = [new Worker(1), new Worker(0)];
  for (const worker of workers) void streams.attach(worker);
  feed.load(['a']);
  await settle(...workers);
  assert.deepEqual(streams.untold({ all: true }), []);
  for (const worker of workers) worker.serve();
  const replacement = new Worker(0);
  void streams.attach(replacement);
  await nextTurn();
  assert.deepEqual(streams.untold({ all: false }), []);
  assert.deepEqual(streams.untold({ all: true }), [0, 1]);
  await settle(replacement);
  replacement.serve();
  feed.change(['b']);
  assert.deepEqual(streams.untold({ all: false }), [0, 1]);
  assert.deepEqual(streams.untold({ all: true }), [0, 1]);
});
