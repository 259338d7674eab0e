import type { AdminSettings } from '../../contract/settings.ts';
import type { AdminParts } from './parts.ts';

/** AdminPort is the admin server over the life of the primary: it closes while another primary has the port. Made by its main. */
export class AdminPort {
  /** With the real port; empty before the first open(). */
  url = '';
  readonly #settings: AdminSettings;
  readonly #parts: AdminParts;
  #close: (() => Promise<void>) | null = null;

  constructor(settings: AdminSettings, parts: AdminParts) {
    this.#settings = settings;
    this.#parts = parts;
  }

  /** open listens. Rejects with LbError listen_failed. */
  async open(): Promise<void> {
    // Imported only now: the workers start while this process loads the admin server, which takes as long.
    const { startAdminServer } = await import('./server.ts');
    const { url, close } = await startAdminServer(this.#settings, this.#parts);
    this.url = url;
    this.#close = close;
  }

  /** close lets calls under way finish for a moment. Safe to call twice. */
  async close(): Promise<void> {
    const close = this.#close;
    this.#close = null;
    await close?.();
  }
}
