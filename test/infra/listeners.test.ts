import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { bindEverywhere, listenFailure, openListener } from '../../src/infra/listeners.ts';
import { tempFolder } from '../support/temp-folder.ts';

/** A machine that refuses `::` with a code. */
async function hostsTried(code: string): Promise<string[]> {
  const tried: string[] = [];
  const bind = (host: string): string => {
    tried.push(host);
    if (host === '::') throw Object.assign(new Error(code), { code });
    return host;
  };
  await bindEverywhere(bind).catch((error: Error) => tried.push(error.message));
  return tried;
}

test('without IPv6 every address is every address of IPv4, and another failure stays one', async () => {
  for (const code of ['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EINVAL'])
    assert.deepEqual(await hostsTried(code), ['::', '0.0.0.0']);
  assert.deepEqual(await hostsTried('EADDRINUSE'), ['::', 'EADDRINUSE']);
  assert.equal(await bindEverywhere((host) => Promise.resolve(host)), '::');
});

test('what is wrong with the path of a Unix socket is said as it is', async (t) => {
  const folder = tempFolder(t);
  const refusal = (path: string) => openListener(createServer(), { kind: 'unix', path });
  await assert.rejects(refusal(join(folder, 'none', 'a.sock')), {
    code: 'listen_failed',
    message: `cannot listen on unix:${folder}/none/a.sock: there is no folder ${folder}/none`,
  });
  const file = join(folder, 'file');
  writeFileSync(file, '');
  await assert.rejects(refusal(file), {
    message: `cannot listen on unix:${file}: a file that is no socket is there: remove it, or choose another path`,
  });
  // As a test by root never sees it.
  const refused = Object.assign(new Error('listen EACCES'), { code: 'EACCES' });
  assert.equal(
    listenFailure({ kind: 'unix', path: file }, refused).message,
    `cannot listen on unix:${file}: this user may not write into the folder ${folder}`,
  );
  assert.match(listenFailure({ kind: 'tcp', host: null, port: 80 }, refused).message, /CAP_NET_BIND_SERVICE/);
  await assert.rejects(refusal(join(file, 'a.sock')), /ENOTDIR|EACCES|no folder/);
  const server = createServer();
  t.after(() => server.close());
  const path = join(folder, 'taken.sock');
  await openListener(server, { kind: 'unix', path });
  await assert.rejects(refusal(path), /EADDRINUSE: another program listens there/);
});

/** Says how many of its connections were open before the kernel tries one again, which is after a second. */
const CROWD = `
const net = require('node:net'); let open = 0;
for (let i = 0; i < 800; i++) net.connect(+process.argv[1], '127.0.0.1', () => { open += 1; if (open === 800) done(); });
const done = () => { console.log(open); process.exit(); };
setTimeout(done, 900);`;
const SOMAXCONN = '/proc/sys/net/core/somaxconn';
const canWait = existsSync(SOMAXCONN) && Number(readFileSync(SOMAXCONN, 'utf8')) >= 1_000;

test('a crowd that comes while the process is busy waits in the queue, and nobody has to try again', {
  skip: !canWait,
}, async (t) => {
  const server = createServer((socket) => socket.destroy());
  t.after(() => server.close());
  const url = await openListener(server, { kind: 'tcp', host: '127.0.0.1', port: 0 });
  // This process does nothing meanwhile.
  const { stdout } = spawnSync(process.execPath, ['-e', CROWD, new URL(url).port], { encoding: 'utf8' });
  assert.equal(stdout.trim(), '800');
});
