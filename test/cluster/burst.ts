/** Requests that come to many workers at the same moment, over connections that reach all of them. */
import { connectRaw, type RawClient } from '../support/raw-http.ts';
import type { SluiceProcess } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';
import { workersOf } from './support.ts';

const CONNECTIONS = 200;

/** Connections are opened until every worker has some, which the kernel decides. */
export const PATIENT = { timeouts: { headers: '120s' } };

/** connectToAll opens connections until every worker has some; the kernel chooses the worker. The caller closes them. */
export async function connectToAll(instances: readonly SluiceProcess[]): Promise<RawClient[]> {
  const clients: RawClient[] = [];
  await waitFor('connections at every worker', async () => {
    const more = clients.length === 0 ? CONNECTIONS : 8;
    for (let i = 0; i < more; i++) {
      clients.push(await connectRaw(instances[i % instances.length]!.proxyUrl));
    }
    return waitFor(
      'reports',
      async () => {
        const workers = (await Promise.all(instances.map((instance) => workersOf(instance.adminUrl)))).flat();
        const sum = workers.reduce((total, worker) => total + worker.connections, 0);
        return sum === clients.length && workers.every((worker) => worker.connections > 0);
      },
      { timeoutMs: 3_000, everyMs: 100 },
    ).catch(() => false);
  });
  return clients;
}

/**
 * burst sends all requests at once, pipelined, evenly over the connections, because one may be a worker's only one. It counts
 * the statuses of each caller.
 *
 * @param callers addresses for X-Forwarded-For, in turn on each connection; '': no such field
 */
export async function burst(
  clients: readonly RawClient[],
  requests: number,
  callers: readonly string[] = [''],
): Promise<Record<string, Record<number, number>>> {
  const counts: Record<string, Record<number, number>> = Object.fromEntries(
    callers.map((caller) => [caller, {}]),
  );
  let next = 0;
  const sent = clients.map((client, i) => {
    const share =
      Math.floor(((i + 1) * requests) / clients.length) - Math.floor((i * requests) / clients.length);
    const asked = Array.from({ length: share }, () => callers[next++ % callers.length]!);
    client.write(asked.map(requestOf).join(''));
    return { client, asked };
  });
  await Promise.all(
    sent.map(async ({ client, asked }) => {
      for (const caller of asked) {
        const { status } = await client.readResponse({ timeoutMs: 20_000 });
        const ofCaller = counts[caller]!;
        ofCaller[status] = (ofCaller[status] ?? 0) + 1;
      }
    }),
  );
  return counts;
}

function requestOf(caller: string): string {
  const from = caller === '' ? '' : `X-Forwarded-For: ${caller}\r\n`;
  return `GET / HTTP/1.1\r\nHost: a\r\n${from}\r\n`;
}
