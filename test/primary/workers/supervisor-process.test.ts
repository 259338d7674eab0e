import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { waitFor, within } from '../../support/wait.ts';
import { processAlive } from './fixtures/harness.ts';

const PRIMARY_FILE = fileURLToPath(new URL('./fixtures/primary.ts', import.meta.url));

interface Ready {
  address: string;
  pids: number[];
}

async function startPrimary(
  t: TestContext,
  accept: string,
): Promise<{ primary: ChildProcess; ready: Ready }> {
  const primary = spawn(process.execPath, [PRIMARY_FILE], {
    env: { ...process.env, FIXTURE_ACCEPT: accept, FIXTURE_MODE: 'normal' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => primary.kill('SIGKILL'));
  assert.ok(primary.stdout);
  const [line] = await within(once(createInterface(primary.stdout), 'line'), 10_000, 'the primary is ready');
  const ready: Ready = JSON.parse(String(line));
  t.after(() =>
    waitFor('no process is left', () => ready.pids.every((pid) => !processAlive(pid)), { timeoutMs: 5000 }),
  );
  return { primary, ready };
}

async function askWorker(address: string): Promise<string> {
  const { hostname, port } = new URL(address);
  let text = '';
  for await (const chunk of connect(Number(port), hostname)) text += String(chunk);
  return text;
}

test('accept round_robin hands connections to the workers in turn', async (t) => {
  const { ready } = await startPrimary(t, 'round_robin');
  const answers: string[] = [];
  for (let i = 0; i < 4; i++) answers.push(await askWorker(ready.address));
  assert.deepEqual(answers.sort(), ['0', '0', '1', '1']);
});

test('accept shared serves, and workers notice the death of their primary', async (t) => {
  const { primary, ready } = await startPrimary(t, 'shared');
  assert.match(await askWorker(ready.address), /^[01]$/);
  primary.kill('SIGKILL');
  await waitFor('both workers are gone', () => ready.pids.every((pid) => !processAlive(pid)));
});
