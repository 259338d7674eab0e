import assert from 'node:assert/strict';
import { type AddressInfo, createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { ListenAddress } from '../../../src/contract/settings.ts';
import { waitForFreeAddresses } from '../../../src/primary/workers/busy-addresses.ts';
import { within } from '../../support/wait.ts';

async function holdPort(t: TestContext): Promise<{ address: ListenAddress; free: () => Promise<void> }> {
  const server = createServer();
  const free = () => new Promise<void>((resolve) => void server.close(() => resolve()));
  t.after(free);
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { address: { kind: 'tcp', host: '127.0.0.1', port }, free };
}

const running = () => false;

test('every address that stays busy is named in one sentence, within a second', async (t) => {
  const [first, second] = [await holdPort(t), await holdPort(t)];
  const unix: ListenAddress = { kind: 'unix', path: '/nowhere/x.sock' };
  const free: ListenAddress = { kind: 'tcp', host: null, port: 0 };
  const startedMs = performance.now();
  const [a, b] = [first.address, second.address].map((address) =>
    address.kind === 'tcp' ? `127.0.0.1:${address.port}` : '',
  );
  await assert.rejects(waitForFreeAddresses([first.address, unix, free, second.address], running), {
    code: 'listen_failed',
    message: new RegExp(`^cannot listen on ${a} and ${b}: EADDRINUSE: .*is another instance running`),
  });
  assert.ok(performance.now() - startedMs < 1_500);
});

test('an address that is given up meanwhile is free, and stays so', async (t) => {
  const { address, free } = await holdPort(t);
  const waiting = waitForFreeAddresses([address], running, 60_000);
  await free();
  await within(waiting, 5_000, 'the address to be found free');
  await waitForFreeAddresses([address], running);
});

test('a start that is called off waits for no address', async (t) => {
  const { address } = await holdPort(t);
  let stopped = false;
  const waiting = waitForFreeAddresses([address], () => stopped, 60_000);
  stopped = true;
  await within(waiting, 5_000, 'the wait to end');
});
