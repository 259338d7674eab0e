/** An event log whose events go to a real database, and what became of them. */
import type { TestContext } from 'node:test';
import type { Settings } from '../../../src/contract/settings.ts';
import { AuditWriter } from '../../../src/primary/audit/audit-writer.ts';
import { EventLog } from '../../../src/primary/events/event-log.ts';
import { MetricsCollector } from '../../../src/primary/metrics/metrics-collector.ts';
import type { Storage } from '../../../src/primary/storage.ts';
import { keepLog } from '../workers/fixtures/harness.ts';

export const DAY_MS = 86_400_000;

/** startAudit makes a writer that the test closes. */
export function startAudit(
  t: TestContext,
  storage: Pick<Storage, 'database' | 'isUnused'>,
  { instance = 'here', settings = {} }: { instance?: string; settings?: Partial<Settings['audit']> } = {},
) {
  const { logger, lines } = keepLog();
  const events = new EventLog(keepLog().logger);
  const collector = new MetricsCollector();
  const inForce = { adminChanges: true, requests: 'off' as const, retentionMs: 30 * DAY_MS, ...settings };
  const audit = new AuditWriter({
    ...{ storage, events, collector, logger, instance },
    settings: () => inForce,
    minRetryMs: 20,
  });
  t.after(() => audit.close());
  const dropped = (kind: string): number =>
    [...collector.seriesOf('sluice_audit_dropped_rows_total')].find(({ labels }) => labels[0] === kind)
      ?.cells[0] ?? Number.NaN;
  const texts = async (more: Partial<Parameters<typeof audit.events.page>[0]> = {}): Promise<string[]> => {
    const { items } = await audit.events.page({ limit: 1_000, after: null, ...more });
    return items.map(({ text }) => text);
  };
  return { audit, events, lines, inForce, dropped, texts };
}
