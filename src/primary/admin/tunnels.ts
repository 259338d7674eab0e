/** The call that lists the tunnels of all workers. */
import * as z from 'zod';
import { LbError } from '../../contract/errors.ts';
import type { ListedTunnel, TunnelCursor } from '../workers/tunnel-list.ts';
import { type AdminApp, call } from './app.ts';
import { listBody, listOf, pageOf, pageQuery } from './paging.ts';
import type { AdminParts } from './parts.ts';
import { HttpProblem, invalidFields } from './problems.ts';

const count = z.int().min(0);

const tunnelView = z.strictObject({
  id: z.string(),
  worker: count.meta({ description: 'Number of the worker slot' }),
  route: z.string(),
  pool: z.string(),
  backend: z.string(),
  clientIp: z.string(),
  clientId: z.string().nullable(),
  host: z.string().nullable(),
  path: z.string().nullable().meta({ description: 'Without its query; cut to 256 characters, as host is' }),
  protocol: z.string().meta({ description: 'What the client asked for in Upgrade' }),
  openedAt: z.iso.datetime(),
  bytesIn: count.meta({ description: 'From the client' }),
  bytesOut: count.meta({ description: 'To the client' }),
  idleMs: count.meta({ description: 'Since the last byte in either direction, to a second' }),
});

/** A tunnel runs as long as its connections, whatever the configuration became: it may name what is gone. */
const SUMMARY = 'List open tunnels: WebSockets and other upgrades';
const FIRST: TunnelCursor = { worker: 0, pid: 0, number: 0 };

/** registerTunnels adds the route. */
export function registerTunnels(app: AdminApp, { tunnels }: AdminParts): void {
  app.get(
    '/api/v1/tunnels',
    call('tunnels', SUMMARY, [422], { querystring: pageQuery, response: { 200: listOf(tunnelView) } }),
    async ({ query }) => {
      const { limit, after } = pageOf(query);
      const { items, next } = await tunnels
        .page(limit, after === null ? FIRST : cursorOf(after))
        .catch(refuse);
      return listBody({
        items: items.map(viewOf),
        next: next && `${next.worker}-${next.pid}-${next.number}`,
      });
    },
  );
}

function cursorOf(after: string): TunnelCursor {
  const [, worker, pid, number] = /^(\d{1,4})-(\d{1,10})-(\d{1,15})$/.exec(after) ?? [];
  if (number === undefined) throw invalidFields([{ field: 'after', message: 'is not the `next` of a page' }]);
  return { worker: Number(worker), pid: Number(pid), number: Number(number) };
}

/** A list without the tunnels of a worker would be wrong, and nobody could see it. */
function refuse(thrown: unknown): never {
  if (thrown instanceof LbError && thrown.code === 'worker_timeout')
    throw new HttpProblem(503, 'a worker did not answer in time');
  throw thrown;
}

function viewOf({ pid, number, openedAtMs, idleMs, ...rest }: ListedTunnel): z.infer<typeof tunnelView> {
  const openedAt = new Date(openedAtMs).toISOString();
  return { ...rest, id: `${pid}-${number}`, openedAt, idleMs: Math.max(0, Math.round(idleMs)) };
}
