/**
 * Signals of the primary. The first SIGTERM or SIGINT drains, a second of either stops at once; SIGHUP reloads. Handlers stay
 * until the process ends: a signal without one would kill it.
 */
import type { Clock } from '../contract/clock.ts';
import type { Logger } from '../infra/logging/logger.ts';

/** Ctrl-C may come twice: from the terminal to the whole group, and passed on by npm or timeout(1). */
const ECHO_MS = 500;

interface SignalActions {
  drain: (signal: NodeJS.Signals) => void;
  stopNow: (signal: NodeJS.Signals) => void;
  reload: () => void;
}

/** handleSignals is called once by the primary's main, before anything that must be stopped is started. */
export function handleSignals(actions: SignalActions, logger: Logger, clock: Clock): void {
  let firstMs: number | null = null;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      const nowMs = clock.monotonicMs();
      if (firstMs === null) {
        firstMs = nowMs;
        actions.drain(signal);
      } else if (nowMs - firstMs > ECHO_MS) actions.stopNow(signal);
    });
  }
  process.on('SIGHUP', () => actions.reload());
  process.on('SIGUSR2', () => logger.warn('rolling replacement of workers is not supported in this version'));
}
