/** What a probe is told, and what it finds. */
import type { ProbeResult } from '../../contract/health.ts';
import type { BackendSettings, HealthCheckSettings, PoolSettings } from '../../contract/pool-settings.ts';
import { proxyHeader } from '../../infra/proxy-protocol/proxy-header.ts';
import { BackendTls } from '../../infra/wire/backend-tls.ts';

export interface ProbeTarget {
  host: string;
  port: number;
  /** null: without TLS. */
  tls: BackendTls | null;
  /** Leaves first, before TLS; '' for none. */
  proxyHeader: string;
  /** Whether the probe speaks HTTP/2. */
  isH2: boolean;
  check: HealthCheckSettings;
}

/** probeTarget is made once per check. Its handshakes resume no session: each one must show a valid certificate. */
export function probeTarget(
  { host, port }: Pick<BackendSettings, 'host' | 'port'>,
  check: HealthCheckSettings,
  { tls, protocol, proxyProtocol }: Pick<PoolSettings, 'tls' | 'protocol' | 'proxyProtocol'>,
): ProbeTarget {
  const isH2 = check.type === 'grpc' || (check.type === 'http' && protocol === 'h2');
  const alpn = protocol === 'h2' || isH2 ? 'h2' : 'http/1.1';
  const secure = tls && new BackendTls(host, tls, { resume: false, protocol: alpn });
  const header = proxyProtocol === 'off' ? '' : proxyHeader(proxyProtocol, null);
  return { host, port, check, isH2, tls: secure, proxyHeader: header };
}

export type ProbeOutcome = Omit<ProbeResult, 'atMs' | 'durationMs'>;
