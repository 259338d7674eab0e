/**
 * Signals of the primary. The first SIGTERM or SIGINT drains, a second of either stops at once; SIGHUP reloads. Handlers stay
 * until the process ends: a signal without one would kill it.
 */
import type { Logger } from '../infra/logger.ts';

interface SignalActions {
  drain: (signal: NodeJS.Signals) => void;
  stopNow: (signal: NodeJS.Signals) => void;
  reload: () => void;
}

/** handleSignals is called once by the primary's main, before anything that must be stopped is started. */
export function handleSignals(actions: SignalActions, logger: Logger): void {
  let stops = 0;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      stops++;
      if (stops === 1) actions.drain(signal);
      else actions.stopNow(signal);
    });
  }
  process.on('SIGHUP', () => actions.reload());
  process.on('SIGUSR2', () => logger.warn('rolling replacement of workers is not supported in this version'));
}
