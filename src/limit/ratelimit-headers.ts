/**
 * The fields that tell a client its limits (B31): `RateLimit` and `RateLimit-Policy`
 * (draft-ietf-httpapi-ratelimit-headers-11), or the older `X-RateLimit-*`, or none; and Retry-After. The
 * draft may change, so only this file knows its syntax.
 */
import type { RateLimitSettings } from '../contract/settings.ts';
import type { Decision } from './decision.ts';

/** The text of a policy that stays the same while its limits do. */
interface PolicyItem {
  capacity: number;
  refillPerSecond: number;
  /** The policy's name as a String of structured fields. */
  name: string;
  /** Its item of RateLimit-Policy. */
  text: string;
}

/** If the backend sent any of these, a second set would make them ambiguous. */
const LEGACY_LINE = /^x-ratelimit-(?:limit|remaining|reset):/im;

/** RateLimitFields writes the field lines for the answers of one plan. */
export class RateLimitFields {
  readonly #style: RateLimitSettings['headers'];
  /** By policy name, with the limits of the last answer: clients may have their own. */
  readonly #items = new Map<string, PolicyItem>();

  /** @param style the setting `rateLimit.headers` */
  constructor(style: RateLimitSettings['headers']) {
    this.#style = style;
  }

  /**
   * lines returns the field lines for an answer, each with CRLF. The draft's fields are lists, so those of a
   * backend stay beside them (RFC 9110 §5.3).
   *
   * @param backendLines the field lines of the backend's answer; '' for Sluice's own answers
   * @param clock for the reset of X-RateLimit-*
   */
  lines(decision: Decision, backendLines: string, clock: { wallMs(): number }): string {
    switch (this.#style) {
      case 'draft':
        return decision.members === null
          ? this.#draftLines(decision)
          : this.#draftListLines(decision.members);
      case 'legacy':
        return LEGACY_LINE.test(backendLines) ? '' : legacyLines(decision, clock.wallMs());
      case 'off':
        return '';
    }
  }

  #draftLines(decision: Decision): string {
    const item = this.#itemOf(decision);
    return `RateLimit-Policy: ${item.text}\r\nRateLimit: ${limitText(item, decision)}\r\n`;
  }

  #draftListLines(members: readonly Decision[]): string {
    let policies = '';
    let limits = '';
    for (const member of members) {
      const item = this.#itemOf(member);
      const comma = policies === '' ? '' : ', ';
      policies += comma + item.text;
      limits += comma + limitText(item, member);
    }
    return `RateLimit-Policy: ${policies}\r\nRateLimit: ${limits}\r\n`;
  }

  #itemOf({ policyName, capacity, refillPerSecond }: Decision): PolicyItem {
    const known = this.#items.get(policyName);
    if (known?.capacity === capacity && known.refillPerSecond === refillPerSecond) return known;
    const name = known?.name ?? structuredString(policyName);
    const windowSec = Math.max(1, Math.ceil(capacity / refillPerSecond));
    const item = { capacity, refillPerSecond, name, text: `${name};q=${capacity};w=${windowSec}` };
    this.#items.set(policyName, item);
    return item;
  }
}

function limitText({ name }: PolicyItem, decision: Decision): string {
  return `${name};r=${decision.remaining};t=${resetSec(decision)}`;
}

/** One set for all policies, from the decision that counts. The reset is in seconds since the Unix epoch. */
function legacyLines({ capacity, remaining, resetMs }: Decision, nowMs: number): string {
  return (
    `X-RateLimit-Limit: ${capacity}\r\nX-RateLimit-Remaining: ${remaining}\r\n` +
    `X-RateLimit-Reset: ${Math.ceil((nowMs + resetMs) / 1000)}\r\n`
  );
}

/**
 * retryAfterSec is the value of Retry-After (RFC 9110 §10.2.3), an integer ≥ 1 and never less than `t`; null: the request was
 * allowed, or can never pass.
 */
export function retryAfterSec(decision: Decision): number | null {
  if (decision.allowed || decision.retryAfterMs < 0) return null;
  return Math.max(1, Math.ceil(decision.retryAfterMs / 1000), resetSec(decision));
}

function resetSec(decision: Decision): number {
  const sec = Math.ceil(decision.resetMs / 1000);
  return decision.remaining === 0 ? Math.max(1, sec) : sec;
}

/** A String of RFC 9651 §3.3.3: printable ASCII; other characters are percent-encoded as UTF-8. */
function structuredString(text: string): string {
  const ascii = text.toWellFormed().replaceAll(/[^\x20-\x7e]/gu, (symbol) => encodeURIComponent(symbol));
  return `"${ascii.replaceAll(/["\\]/g, '\\$&')}"`;
}
