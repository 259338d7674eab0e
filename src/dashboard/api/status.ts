/** What GET /api/v1/status says beside the samples: it changes with a restart or a reload alone. */
import type { Status } from './answers.ts';
import { call } from './call.ts';
import { Store } from './store.ts';

/** null: it has not answered yet. */
export const status = new Store<Status | null>(null);

/** loadStatus is called with each connection and each new revision; a failure leaves what is known. */
export async function loadStatus(): Promise<void> {
  const answer = await call<Status>('/api/v1/status').catch(() => null);
  if (answer !== null) status.set(answer);
}
