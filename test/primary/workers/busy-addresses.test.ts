import assert from 'node:assert/strict';
import { type AddressInfo, createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { ListenAddress } from '../../../src/contract/settings.ts';
import { waitForFreeAddresses } from '../../../src/primary/workers/free-addresses.ts';
import { waitFor, within } from '../../support/wait.ts';
import { keepLog } from './fixtures/harness.ts';

async function holdPort(t: TestContext): Promise<{ address: ListenAddress; free: () => Promise<void> }> {
  const server = createServer();
  const free = () => new Promise<void>((resolve) => void server.close(() => resolve()));
  t.after(free);
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { address: { kind: 'tcp', host: '127.0.0.1', port }, free };
}

const running = () => false;

test('all busy addresses are named in one line at once, and in the final error', async (t) => {
  const [first, second] = [await holdPort(t), await holdPort(t)];
  const unix: ListenAddress = { kind: 'unix', path: '/nowhere/x.sock' };
  const free: ListenAddress = { kind: 'tcp', host: null, port: 0 };
  const { logger, lines } = keepLog();
  const startedMs = performance.now();
  const [a, b] = [first.address, second.address].map((address) =>
    address.kind === 'tcp' ? `127.0.0.1:${address.port}` : '',
  );
  await assert.rejects(
    waitForFreeAddresses([first.address, unix, free, second.address], logger, running, 900),
    {
      code: 'listen_failed',
      message: new RegExp(`^cannot listen on ${a} and ${b}: EADDRINUSE: .*is another instance running`),
    },
  );
  assert.ok(performance.now() - startedMs < 1_500);
  assert.equal(lines.length, 1);
  assert.match(
    `${lines[0]?.level} ${lines[0]?.msg}`,
    new RegExp(`^40 cannot listen on ${a} and ${b}: EADDRINUSE: .*; trying for 0\\.9 s$`),
  );
});

test('an address that becomes free meanwhile is free, and stays so', async (t) => {
  const { address, free } = await holdPort(t);
  const { logger, lines } = keepLog();
  const waiting = waitForFreeAddresses([address], logger, running);
  await waitFor('the line', () => lines.length === 1);
  await free();
  await within(waiting, 5_000, 'the address to be found free');
  await waitForFreeAddresses([address], logger, running);
  assert.equal(lines.length, 1);
});

test('an aborted start does not wait for addresses', async (t) => {
  const { address } = await holdPort(t);
  let stopped = false;
  const waiting = waitForFreeAddresses([address], keepLog().logger, () => stopped);
  stopped = true;
  await within(waiting, 5_000, 'the wait to end');
});
