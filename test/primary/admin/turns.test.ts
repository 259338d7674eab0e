/** Calls that wait for their turn. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Access } from '../../../src/primary/admin/security.ts';
import { Turns } from '../../../src/primary/admin/turns.ts';
import { waitFor } from '../../support/wait.ts';
import { assertProblem, startAdmin } from './harness.ts';

const caller = (access: Access) => ({ access, socket: { destroyed: false } });
const OPTIONS = { maxRunning: 1, maxWaiting: 2, waitMs: { write: 5_000, read: 5_000 }, busy: 'busy' };

test('who may write goes first; too many are refused, and so is who waits too long', async () => {
  const turns = new Turns({ ...OPTIONS, waitMs: { write: 5_000, read: 100 } });
  const gate = Promise.withResolvers<void>();
  const order: string[] = [];
  const run = (access: Access, name: string, until?: Promise<void>) =>
    turns.run(caller(access), async () => {
      order.push(name);
      await until;
    });
  const first = run('read', 'first', gate.promise);
  const late = assert.rejects(run('read', 'late'), { status: 503, message: 'busy' });
  await late;
  const reader = run('read', 'reader');
  const writers = [run('write', 'a'), run('write', 'b')];
  await assert.rejects(run('write', 'c'), { status: 503 });
  gate.resolve();
  await Promise.all([first, reader, ...writers]);
  assert.deepEqual(order, ['first', 'a', 'b', 'reader']);
});

test('a failure frees the place', async () => {
  const turns = new Turns(OPTIONS);
  for (let i = 0; i < 5; i++)
    await assert.rejects(turns.run(caller('read'), () => Promise.reject(new Error('no'))));
  assert.equal(await turns.run(caller('read'), async () => 7), 7);
});

test('whoever has left before its turn does no work, and the next one begins', async () => {
  const turns = new Turns(OPTIONS);
  const gate = Promise.withResolvers<void>();
  const leaver = caller('read');
  const first = turns.run(caller('read'), () => gate.promise);
  const left = assert.rejects(
    turns.run(leaver, async () => assert.fail('it worked')),
    { status: 400 },
  );
  const next = turns.run(caller('read'), async () => 7);
  leaver.socket.destroyed = true;
  gate.resolve();
  await Promise.all([first, left]);
  assert.equal(await next, 7);
});

test('readers of the audit do not keep out who may write, though each page takes longer than they wait', async (t) => {
  const pages: PromiseWithResolvers<{ items: []; next: null }>[] = [];
  const page = () => {
    pages.push(Promise.withResolvers());
    return pages.at(-1)!.promise;
  };
  let come = 0;
  const whenWritten = async () => {
    come++;
  };
  const audit = { whenWritten, events: { page }, requests: { page } };
  const { call } = await startAdmin(t, { settings: { token: 'write', readToken: 'read' }, audit });
  const get = (token: string) =>
    call({ path: '/api/v1/audit', headers: { authorization: `Bearer ${token}` } });
  const reading = get('read');
  await waitFor('a page', () => pages.length === 1);
  const writing = get('write');
  await waitFor('who may write', () => come === 2);
  assertProblem(await get('read'), 503);
  for (const { resolve } of pages) resolve({ items: [], next: null });
  // What comes after that is answered at once.
  const asking = setInterval(() => pages.at(-1)!.resolve({ items: [], next: null }), 10);
  t.after(() => clearInterval(asking));
  assert.equal((await writing).status, 200);
  assert.equal((await reading).status, 200);
});
