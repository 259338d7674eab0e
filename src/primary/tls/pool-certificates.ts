/**
 * The certificates in pools.*.tls. A start and a reload read their files and warn of them; nothing watches the files, because new
 * ones end the connections to backends. So that nobody forgets the reload, there is a metric, and a warning once a day.
 */
import { X509Certificate } from 'node:crypto';
import { certificateWarnings } from '../../config/pem-files.ts';
import { type Validity, validityOf, WARN_EVERY_MS } from '../../config/validity.ts';
import type { PoolSettings } from '../../contract/pool-settings.ts';
import type { EventLog } from '../events/event-log.ts';

type PoolTls = Pick<PoolSettings, 'name' | 'tls'>;

/** poolValidities are those of Sluice's own certificate, for each pool that has one. */
export function poolValidities(pools: readonly PoolTls[]): [pool: string, validity: Validity][] {
  return pools.flatMap(({ name, tls }): [string, Validity][] =>
    tls?.cert ? [[name, validityOf(new X509Certificate(tls.cert.pem))]] : [],
  );
}

/** warnOfPoolsDaily logs those that end soon or are not valid. @param pools those in force; returns how to stop */
export function warnOfPoolsDaily(
  pools: () => readonly PoolTls[],
  events: Pick<EventLog, 'record'>,
): () => void {
  const warn = (): void => {
    for (const { name: pool, tls } of pools())
      for (const key of ['ca', 'cert'] as const)
        for (const { message } of certificateWarnings([], tls?.[key] ?? null)) {
          const text = `pool ${pool}: ${message}`;
          const about = { kind: 'certificate', severity: 'warning', subject: pool } as const;
          events.record({ ...about, text, data: { pool, key } }, { line: message });
        }
  };
  const timer = setInterval(warn, WARN_EVERY_MS).unref();
  return () => clearInterval(timer);
}
