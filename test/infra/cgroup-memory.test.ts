import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { CgroupMemory } from '../../src/infra/cgroup-memory.ts';
import { tempFolder } from '../support/temp-folder.ts';

/** @param files by their paths, of the part of the file system that the kernel would show */
function fileSystem(root: string, files: Record<string, string>): string {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

const V2_STAT = 'anon 700\nfile 300\ninactive_file 100\nactive_file 200\n';
const V1_STAT =
  'inactive_file 1\nactive_file 1\ntotal_rss 700\ntotal_inactive_file 100\ntotal_active_file 200\n';

test('the memory of a control group is what it uses beside files, of version 2 and version 1', async (t) => {
  const v2 = fileSystem(tempFolder(t), {
    'proc/self/cgroup': '0::/sluice.service\n',
    'sys/fs/cgroup/sluice.service/memory.max': '2000\n',
    'sys/fs/cgroup/sluice.service/memory.current': '1300\n',
    'sys/fs/cgroup/sluice.service/memory.stat': V2_STAT,
  });
  assert.equal(await CgroupMemory.find(v2)?.usedPercent(), 50);
  const v1 = fileSystem(tempFolder(t), {
    'proc/self/cgroup': '9:name=systemd:/\n4:memory:/docker/abc\n0::/\n',
    // The path is that of the host.
    'sys/fs/cgroup/memory/memory.limit_in_bytes': '2000\n',
    'sys/fs/cgroup/memory/memory.usage_in_bytes': '800\n',
    'sys/fs/cgroup/memory/memory.stat': V1_STAT,
  });
  assert.equal(await CgroupMemory.find(v1)?.usedPercent(), 25);
});

test('the nearest group with a limit counts; one above the memory of the machine is none', async (t) => {
  const root = fileSystem(tempFolder(t), {
    'proc/self/cgroup': '0::/pod/leaf\n',
    'sys/fs/cgroup/pod/leaf/memory.max': 'max\n',
    'sys/fs/cgroup/pod/memory.max': '1000\n',
    'sys/fs/cgroup/pod/memory.current': '400\n',
    'sys/fs/cgroup/pod/memory.stat': V2_STAT,
  });
  const group = CgroupMemory.find(root);
  assert.equal(await group?.usedPercent(), 10);
  rmSync(join(root, 'sys/fs/cgroup/pod/memory.stat'));
  await assert.rejects(async () => group?.usedPercent(), { code: 'ENOENT' });
  writeFileSync(join(root, 'sys/fs/cgroup/pod/memory.max'), '9223372036854771712\n');
  assert.equal(CgroupMemory.find(root), null);
  assert.equal(CgroupMemory.find(tempFolder(t)), null);
});
