import assert from 'node:assert/strict';
import { readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { FolderLock } from '../../src/infra/postgres/folder-lock.ts';
import { makeTempFolder } from '../support/temp-folder.ts';

function readOwn(folder: string): Record<string, unknown> {
  const [name = ''] = readdirSync(folder);
  return JSON.parse(readFileSync(join(folder, name), 'utf8'));
}

test('one holder at a time, released for the next, also within one process', async () => {
  const folder = makeTempFolder();
  const lock = await FolderLock.acquire(folder, 'first');
  await assert.rejects(FolderLock.acquire(folder, 'second'), {
    code: 'folder_locked',
    message: /\(first, since /,
  });
  assert.equal(readdirSync(folder).length, 1, 'the refused one left its claim behind');
  lock.release();
  lock.release();
  assert.deepEqual(readdirSync(folder), []);
  (await FolderLock.acquire(folder, 'third')).release();
});

test('of many at the same moment never two hold it', async () => {
  for (let round = 0; round < 5; round++) {
    const folder = makeTempFolder();
    const outcomes = await Promise.allSettled(
      Array.from({ length: 8 }, (_, i) => FolderLock.acquire(folder, `no ${i}`)),
    );
    const held = outcomes.filter((outcome) => outcome.status === 'fulfilled');
    assert.ok(held.length <= 1, `${held.length} hold it`);
    for (const outcome of held) outcome.value.release();
    assert.deepEqual(readdirSync(folder), []);
  }
});

test('a lock of a dead process is taken over, also when its pid lives again as another process', async () => {
  const folder = makeTempFolder();
  const lock = await FolderLock.acquire(folder, 'dead');
  const own = readOwn(folder);
  lock.release();
  writeFileSync(join(folder, 'lock-a.json'), JSON.stringify({ ...own, pid: 4_194_303 }));
  writeFileSync(join(folder, 'lock-b.json'), JSON.stringify({ ...own, startedAt: '1' }));
  const next = await FolderLock.acquire(folder, 'next');
  assert.equal(readdirSync(folder).length, 1);
  next.release();
});

test('a lock from another machine holds while it is touched, and not when it is silent', async (t) => {
  const folder = makeTempFolder();
  const lock = await FolderLock.acquire(folder, 'here');
  const foreign = { ...readOwn(folder), machine: 'another', host: 'other-host', pid: 1, purpose: 'there' };
  lock.release();
  const path = join(folder, 'lock-1-a.json');
  writeFileSync(path, JSON.stringify(foreign));
  let touches = 0;
  const toucher = setInterval(() => {
    touches++;
    utimesSync(path, new Date(), new Date(Date.now() + touches));
  }, 200);
  t.after(() => clearInterval(toucher));
  await assert.rejects(FolderLock.acquire(folder, 'here'), {
    message: /by process 1 on other-host \(there, since/,
  });
  clearInterval(toucher);
  (await FolderLock.acquire(folder, 'here')).release();
});
