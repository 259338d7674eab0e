import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ApiKeyDirectory, type ApiKeysMessage } from '../../../src/clients/api-key-directory.ts';
import { type ApiKeysChange, PART_KEYS } from '../../../src/clients/api-key-feed.ts';
import type { ApiKeyRecord } from '../../../src/contract/clients.ts';
import { type KeyLink, KeyStreams, type StreamedKeys } from '../../../src/primary/clients/key-streams.ts';
import { waitFor } from '../../support/wait.ts';

/** A picture that tells of its changes, as an ApiKeyFeed does. */
class Picture implements StreamedKeys {
  readonly keys = new Map<string, string>();
  secret: string | null = 'a secret';
  #tell: (change: ApiKeysChange) => void = () => undefined;

  constructor(count: number) {
    for (let i = 0; i < count; i++) this.keys.set(`key-${i}`, 'acme');
  }

  onChange(listener: (change: ApiKeysChange) => void): void {
    this.#tell = listener;
  }

  *records(): Generator<ApiKeyRecord, undefined> {
    for (const [digest, clientId] of this.keys) yield { digest, clientId };
    return undefined;
  }

  set(digest: string, clientId: string): void {
    this.keys.set(digest, clientId);
    this.#tell({ kind: 'changed', upserts: [{ digest, clientId }], removed: [] });
  }

  remove(...removed: string[]): void {
    for (const digest of removed) this.keys.delete(digest);
    this.#tell({ kind: 'changed', upserts: [], removed });
  }

  replace(): void {
    this.#tell({ kind: 'replaced' });
  }
}

/** A worker whose pipe takes a part when the test says so. */
class SlowWorker implements KeyLink {
  readonly directory = new ApiKeyDirectory({ byName: () => null });
  readonly parts: ApiKeysMessage[] = [];
  readonly #exit = Promise.withResolvers<void>();
  readonly exited = this.#exit.promise;
  #onSent: (() => void) | null = null;

  send(message: Parameters<KeyLink['send']>[0], onSent: () => void): void {
    assert.ok(message.type === 'api-keys');
    assert.equal(this.#onSent, null, 'one part at a time');
    this.#onSent = onSent;
    this.parts.push(message);
    this.directory.apply(message);
  }

  /** take lets the pipe take one part. */
  take(): boolean {
    const onSent = this.#onSent;
    this.#onSent = null;
    onSent?.();
    return onSent !== null;
  }

  takeAll(): void {
    while (this.take());
  }

  exit(): void {
    this.#exit.resolve();
  }
}

function openStream(keys: number) {
  const picture = new Picture(keys);
  const streams = new KeyStreams(picture);
  const worker = new SlowWorker();
  return { picture, streams, worker, told: streams.attach(worker) };
}

describe('KeyStreams', () => {
  it('sends a part when the pipe has taken the one before, the last one marked', async () => {
    const { worker, told } = openStream(2 * PART_KEYS + 1);
    assert.deepEqual([worker.parts.length, worker.directory.keyCount], [1, 0], 'not all in one turn');
    worker.takeAll();
    await told;
    assert.deepEqual(
      worker.parts.map(({ full, first, last, upserts }) => [full, first, last, upserts.length]),
      [
        [true, true, false, PART_KEYS],
        [true, false, false, PART_KEYS],
        [true, false, true, 1],
      ],
    );
    assert.equal(worker.directory.keyCount, 2 * PART_KEYS + 1);
  });

  it('tells a worker of an empty set, and of one that ends with a full part', async () => {
    for (const count of [0, PART_KEYS]) {
      const { worker, told } = openStream(count);
      worker.takeAll();
      await told;
      assert.equal(worker.directory.keyCount, count);
    }
  });

  it('leads to the picture as it is in the end, whatever changes while a set is under way', async () => {
    const { picture, worker, told } = openStream(3 * PART_KEYS);
    picture.remove('key-0', `key-${PART_KEYS}`, `key-${3 * PART_KEYS - 1}`);
    worker.take();
    picture.set('key-1', 'other');
    picture.set('new', 'acme');
    worker.take();
    picture.remove('key-2', 'new');
    picture.set('key-0', 'again');
    worker.takeAll();
    await told;
    const seen = new Map<string, string>();
    for (const { upserts, removed } of worker.parts) {
      for (const digest of removed) seen.delete(digest);
      for (const { digest, clientId } of upserts) seen.set(digest, clientId);
    }
    assert.deepEqual(new Map([...seen].sort()), new Map([...picture.keys].sort()));
    assert.equal(worker.directory.keyCount, picture.keys.size);
  });

  it('reads everything anew when it was replaced, or when too many changes wait for a worker', async () => {
    const { picture, worker } = openStream(10);
    worker.takeAll();
    picture.keys.delete('key-3');
    picture.secret = null;
    picture.replace();
    worker.takeAll();
    assert.equal(worker.directory.keyCount, 9);
    assert.equal(worker.parts.at(-1)?.secret, null);
    const before = worker.parts.length;
    for (let i = 0; i < 1_000; i++) picture.set(`more-${i}`, 'acme');
    worker.takeAll();
    assert.ok(worker.parts.length - before < 150, `${worker.parts.length - before} parts`);
    assert.equal(worker.directory.keyCount, picture.keys.size);
  });

  it('ends with its worker', async () => {
    const { picture, worker, told } = openStream(5 * PART_KEYS);
    worker.exit();
    await told;
    worker.takeAll();
    picture.set('late', 'acme');
    await waitFor('nothing more', () => worker.parts.length === 1);
  });
});
