import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { OpenFileCounter } from '../../src/infra/file-descriptors.ts';

test('descriptors are counted each time where the kernel has the number, and listed every tenth time where it has only the list', async (t) => {
  const told = new OpenFileCounter();
  // Linux tells no number for this folder, which has a file for each descriptor.
  const listed = new OpenFileCounter('/proc/self/fdinfo');
  const before = [await told.count(), await listed.count()] as const;
  const fds = Array.from({ length: 20 }, () => openSync('/dev/null', 'r'));
  t.after(() => {
    for (const fd of fds) closeSync(fd);
  });
  const isTold = before[0] > 0;
  assert.ok(!isTold || (await told.count()) >= before[0] + 20);
  for (let i = 1; i < 10; i++) assert.equal(await listed.count(), before[1]);
  assert.ok((await listed.count()) >= before[1] + 20);
  assert.equal(await new OpenFileCounter('/nowhere').count(), 0);
});
