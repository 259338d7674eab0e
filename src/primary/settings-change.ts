/** A part of a coming revision that is made beside the one in force: sockets, a store, a database. */
import type { WorkerLink } from './workers/worker-link.ts';

/** SettingsChange is made by `prepare` of who has the part; the reloader then calls commit or cancel. */
export interface SettingsChange {
  /**
   * commit puts it into force. The settings must follow in the same turn.
   * @param links all workers
   * @returns finish: to be called once they have applied them. It closes what is in force no more
   */
  commit(links: readonly WorkerLink[]): () => Promise<void>;
  /** announce is called before commit, once nothing can refuse the revision any more. It has a deadline of its own, and never rejects. */
  announce?(): Promise<void>;
  /** cancel closes what was made. */
  cancel(): Promise<void> | void;
  /** The clock of another database, as Storage.nowUs; it may reject. */
  nowUs?(): Promise<number>;
}
