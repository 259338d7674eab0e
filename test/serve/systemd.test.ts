/** Sluice as systemd runs it: with its sockets, and with a program in the place of systemd-notify that writes down what it is told. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ask, poolOf, startNamed } from '../cluster/support.ts';
import { type Child, spawnChild } from '../support/child.ts';
import { CLI } from '../support/product.ts';
import { startSluice, writeConfig } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

/** A handle of node's: a socket that is bound and that this process does not listen on, which a net.Server would do. */
interface Bound {
  readonly fd: number;
  bind(address: string, port?: number): number;
  getsockname?(into: { port?: number }): number;
  close(): void;
}

type Binding = Record<'TCP' | 'Pipe', new (type: number) => Bound>;

/** @returns its descriptor and port @param address of IPv4, or a path */
function bound(t: TestContext, kind: 'TCP' | 'Pipe', address: string): { fd: number; port: number } {
  const { binding } = process as unknown as { binding: (name: string) => Binding };
  const socket = new (binding(kind === 'TCP' ? 'tcp_wrap' : 'pipe_wrap')[kind])(0);
  t.after(() => socket.close());
  assert.equal(socket.bind(address, 0), 0);
  const into: { port?: number } = {};
  socket.getsockname?.(into);
  return { fd: socket.fd, port: into.port ?? 0 };
}

test('sockets that systemd has bound are taken for the addresses of `listen`, and wait for the next start', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const folder = tempFolder(t);
  const socketPath = join(folder, 'front.sock');
  const tcp = bound(t, 'TCP', '127.0.0.1');
  const unix = bound(t, 'Pipe', socketPath);
  const other = bound(t, 'TCP', '127.0.0.1');
  const { port } = tcp;
  const listen = [{ address: `127.0.0.1:${port}` }, { address: `unix:${socketPath}` }];
  const path = writeConfig(folder, { listen, pools: poolOf([backend]), primary: { graceWithout: '0s' } });
  const start = async (): Promise<Child> => {
    // The service's own pid: known once it runs.
    const script = 'LISTEN_PID=$$ LISTEN_FDS=3 exec "$0" "$@"';
    const args = ['-c', script, process.execPath, CLI, 'serve', '--config', path];
    const sluice = spawnChild('/bin/sh', args, { cwd: folder, fds: [tcp.fd, unix.fd, other.fd] });
    t.after(() => sluice.kill());
    await sluice.waitForLine('"msg":"ready"');
    return sluice;
  };
  const first = await start();
  assert.equal((await ask(`http://127.0.0.1:${port}`)).text, 'a');
  assert.equal((await ask('http://a/', { socketPath })).text, 'a');
  await first.waitForLine(`"bound":"127.0.0.1:${other.port}"`);
  await first.kill();
  const waiting = ask(`http://127.0.0.1:${port}`);
  const second = await start();
  assert.equal((await waiting).text, 'a');
  assert.deepEqual(await second.stop(), { code: 0, signal: null });
});

test('systemd is told of start, reload and stop, and its watchdog is fed', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const folder = tempFolder(t);
  const said = join(folder, 'said');
  writeFileSync(said, '');
  writeFileSync(
    join(folder, 'systemd-notify'),
    `#!/bin/sh\nprintf '%s|' "$@" >> ${said}\necho >> ${said}\n`,
    {
      mode: 0o755,
    },
  );
  const sluice = await startSluice({
    config: { pools: poolOf([backend]) },
    folder,
    env: { PATH: `${folder}:${process.env.PATH}`, NOTIFY_SOCKET: '/run/none', WATCHDOG_USEC: '400000' },
  });
  t.after(() => sluice.child.kill());
  const lines = () => readFileSync(said, 'utf8').split('\n');
  const count = (start: string) => lines().filter((line) => line.startsWith(start)).length;
  await waitFor('two pings', () => count('WATCHDOG=1|') >= 2);
  const [ready = ''] = lines();
  assert.equal(ready, `READY=1|MAINPID=${sluice.pid}|STATUS=serving 1 address with 1 worker, revision 1|`);
  sluice.signal('SIGHUP');
  await waitFor('the end of the reload', () => count('READY=1|') === 2);
  // Without the pid, which may be another one by then.
  assert.equal(count('READY=1|STATUS=serving 1 address with 1 worker, revision 2|'), 1);
  assert.match(lines().find((line) => line.startsWith('RELOADING=1|')) ?? '', /MONOTONIC_USEC=\d+\|/);
  assert.deepEqual(await sluice.stop(), { code: 0, signal: null });
  assert.equal(count('STOPPING=1|'), 1);
});
