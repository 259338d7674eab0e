/** A process of many-processes.test.ts: a limiter that takes on command. */
import process from 'node:process';
import { allowed, callerOf, policyOf, takeMany } from '../limit/limiter/limiter-lab.ts';
import { makeFleet, PATIENT_MS } from './limiter-fleet.ts';

const fleet = makeFleet(process.argv[2] ?? '', 1, { workers: 8, timeoutMs: PATIENT_MS });

process.on('message', async (order: { round: number; takes: number } | 'stop') => {
  if (order === 'stop') {
    await fleet.close();
    process.disconnect?.();
    return;
  }
  const limiter = fleet.workers[0]?.limiter;
  if (limiter === undefined) throw new Error('a fleet of one has a worker');
  const caller = callerOf(`round-${order.round}`);
  const decisions = await takeMany(limiter, order.takes, { caller, policy: policyOf() });
  const local = decisions.filter((decision) => decision.source === 'local').length;
  process.send?.({ admitted: allowed(decisions), local });
});

await fleet.ready();
process.send?.('ready');
