/** What a probe is told, and what it finds. */
import type { ProbeResult } from '../../contract/health.ts';
import type {
  BackendSettings,
  HealthCheckSettings,
  PoolSettings,
  PoolTlsSettings,
} from '../../contract/settings.ts';
import { BackendTls } from '../../infra/wire/backend-tls.ts';

export interface ProbeTarget {
  host: string;
  port: number;
  /** null: without TLS. */
  tls: BackendTls | null;
  /** Whether the probe speaks HTTP/2. */
  isH2: boolean;
  check: HealthCheckSettings;
}

/** probeTarget is made once per check. Its handshakes resume no session: each one must show a valid certificate. */
export function probeTarget(
  { host, port }: Pick<BackendSettings, 'host' | 'port'>,
  check: HealthCheckSettings,
  tls: PoolTlsSettings | null,
  protocol: PoolSettings['protocol'] = 'http1',
): ProbeTarget {
  const isH2 = check.type === 'grpc' || (check.type === 'http' && protocol === 'h2');
  const alpn = protocol === 'h2' || isH2 ? 'h2' : 'http/1.1';
  const secure = tls && new BackendTls(host, tls, { resume: false, protocol: alpn });
  return { host, port, check, isH2, tls: secure };
}

export type ProbeOutcome = Omit<ProbeResult, 'atMs' | 'durationMs'>;
