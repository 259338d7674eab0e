/** What GET /api/v1/status says beside the samples: it changes with a restart or a reload alone. */
import { useEffect, useState } from 'preact/hooks';
import type { Status } from './answers.ts';
import { call } from './call.ts';
import { link } from './feed.ts';
import { useStore } from './store.ts';

/** useStatus asks anew with each connection; null: it has not answered. */
export function useStatus(): Status | null {
  const [status, setStatus] = useState<Status | null>(null);
  const { kind } = useStore(link);
  useEffect(() => {
    if (kind === 'lost') return;
    call<Status>('/api/v1/status').then(setStatus, () => undefined);
  }, [kind]);
  return status;
}
