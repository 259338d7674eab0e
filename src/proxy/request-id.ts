/** Ids of requests and traces: a random prefix per process makes them unique and hard to guess without crypto per request. */
import { randomBytes } from 'node:crypto';

/** 96 bits: no two workers of any machines share them. */
const PREFIX_BYTES = 12;
/** Half of a trace id; the other half is new for each trace. */
const TRACE_PREFIX_BYTES = 8;
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
const WORD = 0x1_0000_0000;

/** RequestIds makes the ids of one worker. */
export class RequestIds {
  readonly #prefix = randomBytes(PREFIX_BYTES).toString('hex');
  readonly #tracePrefix = randomBytes(TRACE_PREFIX_BYTES).toString('hex');
  #count = 0;

  /** nextRequestId is 33 to 38 characters of [0-9a-f-]. */
  nextRequestId(): string {
    this.#count += 1;
    return `${this.#prefix}-${hexWord(this.#count >>> 0)}`;
  }

  /** nextSpanId is 16 hex digits, never all zero (W3C Trace Context §3.2.2.4). They are evenly spread, and no secret. */
  nextSpanId(): string {
    return hexWord(((Math.random() * WORD) >>> 0) | 1) + hexWord((Math.random() * WORD) >>> 0);
  }

  /** traceIdAround is 32 hex digits. The last half is the span id: samplers by ratio need it evenly spread (§3.2.2.3). */
  traceIdAround(spanId: string): string {
    return this.#tracePrefix + spanId;
  }
}

function hexWord(word: number): string {
  return HEX[word >>> 24]! + HEX[(word >>> 16) & 255]! + HEX[(word >>> 8) & 255]! + HEX[word & 255]!;
}
