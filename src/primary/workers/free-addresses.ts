/** Makes sure before the start that its addresses are free: waits for busy ports, and removes dead Unix sockets. */
import { once } from 'node:events';
import { lstatSync } from 'node:fs';
import { unlink } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { addressText } from '../../contract/addresses.ts';
import { LbError, systemCodeOf, toError } from '../../contract/errors.ts';
import type { ListenAddress } from '../../contract/settings.ts';
import { listenSentence, openListener } from '../../infra/listeners.ts';
import type { Logger } from '../../infra/logging/logger.ts';

/** How long an instance that was told to stop may take to close its listeners. */
const BUSY_MS = 10_000;
const RETRY_MS = 100;
/** The kernel answers within microseconds. */
const CONNECT_MS = 1_000;
/** Before a file is removed it is looked at again after this time: an instance that starts now may be about to listen. */
const SECOND_LOOK_MS = 250;

type TcpAddress = Extract<ListenAddress, { kind: 'tcp' }>;

/**
 * waitForFreeAddresses resolves once nobody listens at the TCP addresses among `addresses`, or once the start is called off. It logs
 * the busy ones at once, in one line. Throws LbError listen_failed, which names those that are busy after BUSY_MS. StartupSockets
 * calls it before anything is opened.
 *
 * @param isHeld whether this process has a socket for the address, which it then need not bind; asked before each try
 */
export async function waitForFreeAddresses(
  addresses: readonly ListenAddress[],
  logger: Pick<Logger, 'warn'>,
  isCalledOff: () => boolean,
  { busyMs = BUSY_MS, isHeld = async (_: ListenAddress) => false } = {},
): Promise<void> {
  const giveUpAtMs = performance.now() + busyMs;
  let told = false;
  while (!isCalledOff()) {
    const toBind: ListenAddress[] = [];
    for (const address of addresses) if (!(await isHeld(address))) toBind.push(address);
    const busy = await busyAmong(toBind);
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

/** Any other fault of an address shows when the instance listens there. */
async function isBusy(address: TcpAddress): Promise<boolean> {
  const server = createServer((socket) => socket.destroy());
  try {
    await openListener(server, address);
    return false;
  } catch (thrown) {
    return systemCodeOf(toError(thrown).cause) === 'EADDRINUSE';
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}

/**
 * removeDeadSockets removes the files of Unix sockets whose process was killed: the kernel refuses the address as long as the file is
 * there. A file of another kind, or one that cannot be removed, stays: the bind fails then and says why. Called by
 * StartupSockets and ListenSockets before they bind. Never rejects.
 *
 * @param pause the time between two looks; for tests
 */
export async function removeDeadSockets(
  listen: readonly ListenAddress[],
  logger: Logger,
  pause: () => Promise<void> = () => delay(SECOND_LOOK_MS),
): Promise<void> {
  for (const address of listen) {
    if (address.kind !== 'unix') continue;
    const { path } = address;
    try {
      if (!(await isDead(path))) continue;
      await pause();
      if (!(await isDead(path))) continue;
      await unlink(path);
      logger.info({ path }, 'removed a socket at which nobody listens');
    } catch (thrown) {
      logger.warn({ path, reason: toError(thrown).message }, 'a socket at which nobody listens stays');
    }
  }
}

/** ECONNREFUSED means that nobody listens; a full queue has another code. */
async function isDead(path: string): Promise<boolean> {
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSocket()) return false;
  const socket = connect({ path });
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(CONNECT_MS) });
    return false;
  } catch (thrown) {
    return systemCodeOf(thrown) === 'ECONNREFUSED';
  } finally {
    socket.destroy();
  }
}
