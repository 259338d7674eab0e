/** wrk as load generator: one thread in a closed loop. */
import { fileURLToPath } from 'node:url';
import { runToEnd } from '../../test/support/child.ts';
import type { LoadFigures, Work } from './load.ts';

const SCRIPT = fileURLToPath(new URL('wrk.lua', import.meta.url));
const TIMEOUT_SEC = 5;

/** wrkArgs returns the arguments of one run. */
export function wrkArgs(port: number, work: Work, durationSec: number): string[] {
  const {
    method = 'GET',
    path,
    bodyBytes = 0,
    connections,
    reconnecting = false,
    clients = 1,
    tls = false,
  } = work;
  return [
    ...['-t1', `-c${connections}`, `-d${durationSec}s`, `--timeout=${TIMEOUT_SEC}s`, '-s', SCRIPT],
    ...[
      `${tls ? 'https' : 'http'}://127.0.0.1:${port}${path}`,
      '--',
      method,
      String(bodyBytes),
      reconnecting ? 'close' : 'keep-alive',
      String(clients),
    ],
  ];
}

/** runWrk loads a port of this machine for a whole number of seconds. */
export async function runWrk(port: number, work: Work, durationSec: number): Promise<LoadFigures> {
  const { code, stdout, stderr } = await runToEnd('wrk', wrkArgs(port, work, durationSec), {
    timeoutMs: (durationSec + TIMEOUT_SEC + 10) * 1_000,
  });
  const line = stdout.findLast((text) => text.startsWith('{'));
  if (code !== 0 || line === undefined) {
    throw new Error(`wrk failed (${code}):\n${[...stdout, ...stderr].slice(-10).join('\n')}`);
  }
  const figures = JSON.parse(line) as LoadFigures;
  return work.refused === true ? { ...figures, badStatus: figures.requests - figures.badStatus } : figures;
}
