/** What GET /api/v1/status says beside the samples: it changes with a restart or a reload alone. */
import type { Status } from './answers.ts';
import { call } from './call.ts';
import { Store } from './store.ts';

/** null: it has not answered yet. */
export const status = new Store<Status | null>(null);

let underWay = 0;

/** loadStatus is called with each connection and each new revision; a failure leaves what is known. */
export async function loadStatus(): Promise<void> {
  underWay += 1;
  const answer = await call<Status>('/api/v1/status').catch(() => null);
  underWay -= 1;
  if (answer !== null) status.set(answer);
}

/** followRevision is called with each sample; it asks once at a time, because a slow answer would take all connections of the browser. */
export function followRevision(revision: number): void {
  if (underWay === 0 && status.value?.revision !== revision) void loadStatus();
}
