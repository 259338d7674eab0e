/**
 * The signals of a process, primary or worker. All of them have handlers from the first line of a program to its end: the default
 * action of each would end the process, and that of SIGUSR1 would open node's debugger to every user of the machine.
 * This file has no imports, so that it loads first.
 */

/** A stop signal this soon after the turn that handled the first is its echo: a terminal signals the whole group, npm repeats it. */
const ECHO_MS = 500;

export interface SignalActions {
  /** The first SIGTERM, SIGINT or SIGQUIT. */
  stop: (signal: NodeJS.Signals) => void;
  /** A further one. */
  stopNow: (signal: NodeJS.Signals) => void;
  /** SIGHUP. */
  reload: () => void;
  /** SIGUSR1. */
  reopenLogs: () => void;
  /** SIGUSR2. */
  replaceWorkers: () => void;
}

export class ProcessSignals {
  #actions: SignalActions | null = null;
  /** Signals that came before there were actions. */
  readonly #early: NodeJS.Signals[] = [];
  #stoppedAtMs: number | null = null;

  constructor() {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const) {
      process.on(signal, () => this.#receive(signal));
    }
  }

  /** handle is called once, and handles the signals that have come by then. */
  handle(actions: SignalActions): void {
    this.#actions = actions;
    for (const signal of this.#early.splice(0)) this.#receive(signal);
  }

  #receive(signal: NodeJS.Signals): void {
    const actions = this.#actions;
    if (actions === null) {
      if (!this.#early.includes(signal)) this.#early.push(signal);
    } else if (signal === 'SIGHUP') actions.reload();
    else if (signal === 'SIGUSR1') actions.reopenLogs();
    else if (signal === 'SIGUSR2') actions.replaceWorkers();
    else if (this.#stoppedAtMs === null) {
      this.#stoppedAtMs = Number.POSITIVE_INFINITY;
      actions.stop(signal);
      setImmediate(() => (this.#stoppedAtMs = performance.now()));
    } else if (performance.now() - this.#stoppedAtMs > ECHO_MS) actions.stopNow(signal);
  }
}
