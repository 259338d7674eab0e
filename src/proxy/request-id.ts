/**
 * Names of requests and spans. Unique by construction (a random prefix per process and a counter), unguessable by the
 * prefix, and without a call into crypto per request.
 */
import { randomBytes } from 'node:crypto';

/** 96 bits: two workers of any two machines never share it. */
const PREFIX_BYTES = 12;
/** Half of a trace id; the other half is new for each trace. */
const TRACE_PREFIX_BYTES = 8;
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
const WORD = 0x1_0000_0000;

/** RequestIds makes the ids of one worker; one per process. */
export class RequestIds {
  readonly #prefix: string;
  readonly #tracePrefix = randomBytes(TRACE_PREFIX_BYTES).toString('hex');
  readonly #random: () => number;
  #count = 0;

  /** @param random uniform in [0, 1); for span and trace ids, which need to be spread but not secret */
  constructor(random: () => number, prefix: string = randomBytes(PREFIX_BYTES).toString('hex')) {
    this.#random = random;
    this.#prefix = prefix;
  }

  /** nextRequestId is 33 to 38 characters of [0-9a-f-]. */
  nextRequestId(): string {
    this.#count += 1;
    return `${this.#prefix}-${hexWord(this.#count >>> 0)}`;
  }

  /** nextSpanId is 16 hex digits, never all zero (W3C Trace Context §3.2.2.4). */
  nextSpanId(): string {
    return hexWord(((this.#random() * WORD) >>> 0) | 1) + hexWord((this.#random() * WORD) >>> 0);
  }

  /**
   * traceIdAround is 32 hex digits that end with a span id: the half that is evenly spread, as samplers by ratio expect
   * (§3.2.2.3). A trace begins with its first span, so one draw serves both.
   */
  traceIdAround(spanId: string): string {
    return this.#tracePrefix + spanId;
  }
}

function hexWord(word: number): string {
  return HEX[word >>> 24]! + HEX[(word >>> 16) & 255]! + HEX[(word >>> 8) & 255]! + HEX[word & 255]!;
}
