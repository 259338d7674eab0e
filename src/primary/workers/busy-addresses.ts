/** Looks whether the addresses of a start are free, before anything else is started. */
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { LbError, systemCodeOf } from '../../contract/errors.ts';
import { addressText, listenSentence } from '../../contract/listen-failure.ts';
import type { ListenAddress } from '../../contract/settings.ts';

/** For an instance that has been told to stop and is about to close its listeners. */
const BUSY_MS = 900;
const RETRY_MS = 100;

type TcpAddress = Extract<ListenAddress, { kind: 'tcp' }>;

/**
 * waitForFreeAddresses resolves once nobody listens at the TCP addresses among `addresses`, or once the start is called off. Throws
 * LbError listen_failed, naming every address that stays busy for BUSY_MS. Called by the primary before it opens anything.
 */
export async function waitForFreeAddresses(
  addresses: readonly ListenAddress[],
  stopped: () => boolean,
  busyMs = BUSY_MS,
): Promise<void> {
  const giveUpAtMs = performance.now() + busyMs;
  while (!stopped()) {
    const busy = await busyAmong(addresses);
    if (busy.length === 0) return;
    if (performance.now() + RETRY_MS > giveUpAtMs) {
      throw new LbError(
        'listen_failed',
        listenSentence(busy.map(addressText).join(' and '), 'EADDRINUSE', ''),
      );
    }
    await delay(RETRY_MS);
  }
}

/** busyAmong gives the TCP addresses at which somebody listens; also for the demo. */
export async function busyAmong(addresses: readonly ListenAddress[]): Promise<TcpAddress[]> {
  const busy: TcpAddress[] = [];
  for (const address of addresses) {
    if (address.kind === 'tcp' && address.port !== 0 && (await isBusy(address))) busy.push(address);
  }
  return busy;
}

/** Whatever else is wrong with an address shows when it is listened at. */
async function isBusy({ host, port }: TcpAddress): Promise<boolean> {
  const server = createServer((socket) => socket.destroy());
  const { promise, resolve } = Promise.withResolvers<boolean>();
  server.once('error', (error) => resolve(systemCodeOf(error) === 'EADDRINUSE'));
  server.listen({ port, ...(host === null ? {} : { host }) }, () => {
    server.close(() => resolve(false));
  });
  return promise;
}
