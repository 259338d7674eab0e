/** Looks whether the addresses of a start are free, before anything else is started. */
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { LbError, systemCodeOf } from '../../contract/errors.ts';
import type { ListenAddress } from '../../contract/settings.ts';
import { addressText, listenSentence } from '../../infra/listeners.ts';
import type { Logger } from '../../infra/logging/logger.ts';

/** An instance that was told to stop may take so long to close its listeners. */
const BUSY_MS = 10_000;
const RETRY_MS = 100;

type TcpAddress = Extract<ListenAddress, { kind: 'tcp' }>;

/**
 * waitForFreeAddresses resolves once nobody listens at the TCP addresses among `addresses`, or once the start is called off. It names
 * the busy ones in one line at once. Throws LbError listen_failed, naming those that are busy after BUSY_MS. Called by the primary
 * before it opens anything.
 */
export async function waitForFreeAddresses(
  addresses: readonly ListenAddress[],
  logger: Pick<Logger, 'warn'>,
  stopped: () => boolean,
  busyMs = BUSY_MS,
): Promise<void> {
  const giveUpAtMs = performance.now() + busyMs;
  let told = false;
  while (!stopped()) {
    const busy = await busyAmong(addresses);
    if (busy.length === 0) return;
    const sentence = listenSentence(busy.map(addressText).join(' and '), 'EADDRINUSE', '');
    if (performance.now() + RETRY_MS > giveUpAtMs) throw new LbError('listen_failed', sentence);
    if (!told) logger.warn(`${sentence}; trying for ${busyMs / 1000} s`);
    told = true;
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
