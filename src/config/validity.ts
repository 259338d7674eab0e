/** From when to when a certificate is valid, and the one sentence that says so in checks, warnings and the log. */
import type { X509Certificate } from 'node:crypto';

/** Milliseconds since the epoch. */
export interface Validity {
  notBeforeMs: number;
  notAfterMs: number;
}

export function validityOf({ validFromDate, validToDate }: X509Certificate): Validity {
  return { notBeforeMs: validFromDate.getTime(), notAfterMs: validToDate.getTime() };
}

/**
 * Warnings begin this long before the end of a certificate, and for short-lived ones when this part of their lifetime is left; the alerts of
 * config/prometheus do too.
 */
const WARN_BEFORE_MS = 14 * 24 * 3_600_000;
const WARN_PART = 1 / 4;
/** What runs says it again this often; for the timers of primary/tls. */
export const WARN_EVERY_MS = 24 * 3_600_000;

/** expiresSoon: whether it is time to warn, or the certificate has expired. */
export function expiresSoon({ notBeforeMs, notAfterMs }: Validity, nowMs: number): boolean {
  return notAfterMs - nowMs <= Math.min(WARN_BEFORE_MS, (notAfterMs - notBeforeMs) * WARN_PART);
}

/** validityText says that a certificate is not valid yet, has expired, or expires soon; null: none of these. */
export function validityText(validity: Validity, nowMs: number, which = 'the certificate'): string | null {
  const { notBeforeMs, notAfterMs } = validity;
  const leftMs = notAfterMs - nowMs;
  const at = new Date(notAfterMs).toISOString();
  if (leftMs <= 0) return `${which} has expired on ${at}`;
  if (notBeforeMs > nowMs) return `${which} is not valid before ${new Date(notBeforeMs).toISOString()}`;
  return expiresSoon(validity, nowMs) ? `${which} expires on ${at}` : null;
}
