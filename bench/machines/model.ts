/** What a number of machines costs the stores that they share, from figures that `make bench-machines` measures. docs/scaling.md explains it. */

export interface CostFigures {
  /** CPU of Redis for one call of the script with one bucket where Redis is busy, µs. */
  callUs: number;
  /** The same where Redis has little to do and wakes up for each call, µs. */
  idleCallUs: number;
  /** Calls for a request of a caller that a worker sees too rarely for a lease. */
  callsPerRequest: number;
  /** Calls per second for a caller with leases, for each worker that it meets: measured at 100 requests a second, fewer at more. */
  callsPerLease: number;
  /** Of each worker at each node that it does not call: 0.5 (src/limit/store/store-health.ts). */
  probesPerSec: number;
  /** CPU of Redis for the connections of each process of Sluice and its reads of the map of slots, µs per second. */
  restUs: number;
  bucketBytes: number;
  /** At rest. */
  databaseConnections: number;
  /** CPU of PostgreSQL for each machine, µs per second. */
  databaseUs: number;
}

export interface Fleet {
  machines: number;
  /** Of each machine. */
  workers: number;
  /** Limited requests of all machines from callers that send little. */
  rarePerSec: number;
  /** Callers that send much, and what each of them sends. */
  busyCallers: number;
  busyPerSec: number;
  /** How many machines the requests of one caller come to: all, or fewer where the network in front keeps a caller where it is. */
  machinesOfCaller: number;
  /** Callers whose bucket is not full, at a time. */
  buckets: number;
}

export interface FleetCost {
  /** That share the store: the divisor of local shares. */
  workers: number;
  callsPerSec: number;
  redisCores: number;
  /** Nodes of a Cluster, without replicas, that are half busy; three at least. */
  nodes: number;
  bucketMiB: number;
  /** Without requests, at so many nodes; under load workers probe no node that they call. */
  restCallsPerSec: number;
  restCores: number;
  connectionsPerNode: number;
  databaseConnections: number;
  databaseCores: number;
}

/**
 * From this rate on a worker takes tokens of a caller ahead, however evenly its requests come: 8 within 50 ms begin it
 * (src/limit/limiter/known-bucket.ts), and 80 a second keep it up.
 */
const LEASE_FROM_PER_SEC = 140;
/** Of each machine (src/primary/instance-heartbeat.ts). */
export const ANNOUNCEMENTS_PER_SEC = 0.5;
const LEAST_NODES = 3;
const BUSY_SHARE = 0.5;

/** callsOf is how often the script is called in a second for one caller below its limit whose requests come evenly to the workers. */
export function callsOf(figures: CostFigures, perSec: number, workers: number): number {
  const { callsPerRequest, callsPerLease } = figures;
  const each = perSec * callsPerRequest;
  return perSec / workers >= LEASE_FROM_PER_SEC ? Math.min(each, callsPerLease * workers) : each;
}

/** costOf extrapolates. */
export function costOf(figures: CostFigures, fleet: Fleet): FleetCost {
  const { machines, rarePerSec, busyCallers, busyPerSec, machinesOfCaller, buckets } = fleet;
  const workers = machines * fleet.workers;
  const processes = workers + machines;
  const callsOfBusy = callsOf(figures, busyPerSec, machinesOfCaller * fleet.workers);
  const callsPerSec = rarePerSec * figures.callsPerRequest + busyCallers * callsOfBusy;
  const redisCores = (callsPerSec * figures.callUs + processes * figures.restUs) / 1e6;
  const nodes = Math.max(LEAST_NODES, Math.ceil(redisCores / BUSY_SHARE));
  const restCallsPerSec = machines * ANNOUNCEMENTS_PER_SEC + workers * nodes * figures.probesPerSec;
  return {
    workers,
    callsPerSec,
    redisCores,
    nodes,
    restCallsPerSec,
    restCores: (restCallsPerSec * figures.idleCallUs + processes * figures.restUs) / 1e6,
    bucketMiB: (buckets * figures.bucketBytes) / 2 ** 20,
    connectionsPerNode: processes,
    databaseConnections: machines * figures.databaseConnections,
    databaseCores: (machines * figures.databaseUs) / 1e6,
  };
}
