/** What `make bench-machines` runs: the configuration of a machine, and the loads. */
import type { SluiceConfig } from '../../test/support/sluice.ts';
import type { Traffic } from './steps.ts';

const WIDE = { capacity: 1_000_000, refillPerSecond: 1_000_000 };
/** The limit of the burst; it hardly refills. */
export const CAPACITY = 100;
/** Requests at once, of one caller over all machines. */
export const BURST = 1_000;
/** Changes of clients, one after the other. */
export const CHANGES = 10;
/** Callers that hardly ever send twice: no worker takes tokens ahead for them. */
export const RARE: Traffic = { path: '/tiny/rare', ratePerSec: 150, callers: 1 << 24 };
/** Each caller sends 100 a second to each worker, enough for leases. */
export const BUSY: Traffic = { path: '/tiny/busy', ratePerSec: 400, callers: 4 };
/** Requests of one caller, over all machines together. */
export const ONE_PER_SEC = 300;

/** configOf is the configuration of each machine. @param ports of the backends */
export function configOf(ports: number[]): SluiceConfig {
  const policies = {
    default: { capacity: CAPACITY, refillPerSecond: 0.001 },
    rare: WIDE,
    busy: WIDE,
    one: WIDE,
  };
  const names = Object.keys(policies).filter((name) => name !== 'default');
  const limited = names.map((name) => ({
    ...{ name, match: { path: `/tiny/${name}` }, pool: 'app', rateLimit: { policy: name } },
  }));
  return {
    workers: 1,
    trustedProxies: ['127.0.0.0/8'],
    pools: { app: { backends: ports.map((port) => ({ url: `http://127.0.0.1:${port}` })) } },
    routes: [
      ...limited,
      { name: 'off', match: { path: '/tiny/off' }, pool: 'app', rateLimit: 'off' },
      { name: 'rest', pool: 'app' },
    ],
    rateLimit: { policies },
    timeouts: { headers: '120s' },
    log: { access: { enabled: false } },
  };
}
