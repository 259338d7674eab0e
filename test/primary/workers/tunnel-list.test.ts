/** Pages of tunnels over several workers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LbError } from '../../../src/contract/errors.ts';
import { type PrimaryMessage, TUNNELS_PART_MAX, type TunnelView } from '../../../src/contract/messages.ts';
import { TunnelList } from '../../../src/primary/workers/tunnel-list.ts';

type Link = ReturnType<ConstructorParameters<typeof TunnelList>[0]>[number];

function view(number: number): TunnelView {
  const names = { route: 'all', pool: 'app', backend: 'b', clientIp: '192.0.2.1', clientId: null };
  const request = { host: null, path: '/', protocol: 'websocket' };
  return { number, ...names, ...request, openedAtMs: 0, bytesIn: 0, bytesOut: 0, idleMs: 0 };
}

const FIRST = { worker: 0, pid: 0, number: 0 };

/** A worker with tunnels of these numbers, which notes how many it was asked for at a time. */
function worker(index: number, numbers: number[], asked: number[] = [], pid = 100 + index): Link {
  const ask = async (_type: string, _ms: number, question: (id: number) => PrimaryMessage) => {
    const { after, limit } = question(1) as { after: number; limit: number };
    asked.push(limit);
    const found = numbers.filter((number) => number > after);
    return { items: found.slice(0, limit).map(view), more: found.length > limit };
  };
  return { index, pid, ask: ask as never };
}

const failing = (index: number, code: 'worker_gone' | 'worker_timeout'): Link => ({
  index,
  pid: 0,
  ask: () => Promise.reject(new LbError(code, 'no')),
});

test('pages follow the slots and the numbers, and together they are the whole list', async () => {
  const workers = [worker(2, [4, 9]), worker(0, [1, 2, 3]), worker(1, [])];
  const list = new TunnelList(() => workers);
  const all: string[] = [];
  let pages = 0;
  for (let after = FIRST; ; pages++) {
    const { items, next } = await list.page(2, after);
    all.push(...items.map(({ worker: index, number }) => `${index}-${number}`));
    if (next === null) break;
    after = next;
  }
  assert.deepEqual([all, pages], [['0-1', '0-2', '0-3', '2-4', '2-9'], 2]);
});

test('a worker that was replaced between two pages is listed from its beginning', async () => {
  const workers = [worker(0, [7, 8]), worker(1, [3])];
  const list = new TunnelList(() => workers);
  const { items, next } = await list.page(1, FIRST);
  assert.deepEqual([items.length, next], [1, { worker: 0, pid: 100, number: 7 }]);
  workers[0] = worker(0, [1, 2], [], 555);
  const rest = await list.page(10, next ?? FIRST);
  assert.deepEqual(
    rest.items.map(({ pid, number }) => `${pid}-${number}`),
    ['555-1', '555-2', '101-3'],
  );
});

test('a page of exactly all tunnels is the last one', async () => {
  const list = new TunnelList(() => [worker(0, [1, 2])]);
  const { items, next } = await list.page(2, FIRST);
  assert.deepEqual([items.length, next], [2, null]);
});

test('no worker is asked for more than a part at a time', async () => {
  const asked: number[] = [];
  const numbers = Array.from({ length: 1_000 }, (_, i) => i + 1);
  const list = new TunnelList(() => [worker(0, numbers, asked)]);
  const { items, next } = await list.page(900, FIRST);
  assert.deepEqual([items.length, next], [900, { worker: 0, pid: 100, number: 900 }]);
  assert.ok(asked.every((limit) => limit <= TUNNELS_PART_MAX) && asked.length === 5, String(asked));
});

test('a worker that ends meanwhile is left out, and one that is silent is an error', async () => {
  const list = new TunnelList(() => [failing(0, 'worker_gone'), worker(1, [1])]);
  assert.deepEqual(
    (await list.page(5, FIRST)).items.map(({ pid }) => pid),
    [101],
  );
  const silent = new TunnelList(() => [worker(0, [1]), failing(1, 'worker_timeout')]);
  await assert.rejects(silent.page(5, FIRST), { code: 'worker_timeout' });
});
