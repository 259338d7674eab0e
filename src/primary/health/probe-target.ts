/** What a probe is told, and what it finds. */
import { hostPort } from '../../contract/addresses.ts';
import type { ProbeResult } from '../../contract/health.ts';
import type { BackendSettings, HealthCheckSettings, PoolSettings } from '../../contract/pool-settings.ts';
import { sluiceVersion } from '../../infra/build-info.ts';
import { proxyHeader } from '../../infra/proxy-protocol/proxy-header.ts';
import { BackendTls } from '../../infra/wire/backend-tls.ts';

export interface ProbeTarget {
  host: string;
  port: number;
  /** Value of Host, or `:authority`. */
  authority: string;
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
  const probed = check.port || port;
  const authority = check.host ?? defaultAuthority(host, probed, tls !== null);
  return { host, port: probed, authority, check, isH2, tls: secure, proxyHeader: header };
}

const OWN_FIELDS = { 'User-Agent': `sluice-health/${sluiceVersion()}`, Accept: '*/*' };

/** fieldsOf are those of a probe; the ones of the configuration replace ours. */
export function fieldsOf({ headers }: HealthCheckSettings): Record<string, string> {
  const given = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
  const own = Object.entries(OWN_FIELDS).filter(([name]) => !given.has(name.toLowerCase()));
  return { ...Object.fromEntries(own), ...headers };
}

/** Without the scheme's own port (RFC 9110 §4.2.3). */
function defaultAuthority(host: string, port: number, isTls: boolean): string {
  const whole = hostPort(host, port);
  return port === (isTls ? 443 : 80) ? whole.slice(0, whole.lastIndexOf(':')) : whole;
}

/** verdictOf judges the status of an answer to a probe of type http. */
export function verdictOf(status: number, { expectStatus }: HealthCheckSettings): ProbeOutcome {
  return { ok: status >= expectStatus.from && status <= expectStatus.to, detail: `status ${status}` };
}

/** ExpectedText looks for a text in the first MAX_BODY_BYTES of the body of an answer. */
export class ExpectedText {
  /** The outcome where the text is not there; also for a body that ends without it. */
  readonly missing: ProbeOutcome;
  readonly #found: ProbeOutcome;
  readonly #text: Buffer;
  readonly #body = Buffer.allocUnsafe(MAX_BODY_BYTES);
  #bytes = 0;
  #isSettled = false;

  /** @param found the outcome where the text is there */
  constructor(text: string, found: ProbeOutcome) {
    this.#text = Buffer.from(text);
    this.#found = found;
    this.missing = { ok: false, detail: `${found.detail}, without the expected text` };
  }

  /** take is called with each piece. @returns the outcome, once; null: it is not known yet, or was told before */
  take(piece: Buffer): ProbeOutcome | null {
    if (this.#isSettled) return null;
    // The text may have begun in earlier pieces. All of them again with each piece would be quadratic.
    const from = Math.max(0, this.#bytes - this.#text.length + 1);
    this.#bytes += piece.copy(this.#body, this.#bytes);
    const isFound = this.#body.subarray(from, this.#bytes).includes(this.#text);
    this.#isSettled = isFound || this.#bytes === MAX_BODY_BYTES;
    if (!this.#isSettled) return null;
    return isFound ? this.#found : this.missing;
  }
}

/** A longer body is cut off. */
export const MAX_BODY_BYTES = 64 * 1024;

export type ProbeOutcome = Omit<ProbeResult, 'atMs' | 'durationMs'>;
