/**
 * Ends a session whose frames cost more than they carry. Each kind has a budget, which real clients never use up: what they send
 * beside requests is in proportion to requests and answers. Where nghttp2 has a limit of its own it is used (session-options.ts).
 */

/** Values of the label `kind` of sluice_http2_floods_total. */
export const FLOOD_KINDS = [
  'reset',
  'ping',
  'settings',
  'malformed',
  'control_bytes',
  'continuation',
  'invalid_frames',
] as const;
export type FloodKind = (typeof FLOOD_KINDS)[number];

/** Resets of streams, or control frames, that may come at once; then this many a second, and one for each answer or piece of body. */
const BURST = 200;
const PER_SEC = 20;
/** Bytes of frames that are neither heads nor bodies: at once, a second, and for each answer or piece of body (window updates). */
const CONTROL_BURST_BYTES = 1 << 20;
const CONTROL_BYTES_PER_SEC = 1_024;
const CONTROL_BYTES_PER_PIECE = 64;

/** Usage is what a session has done since it was opened. */
export interface Usage {
  ageMs: number;
  readBytes: number;
  headBytes: number;
  bodyBytes: number;
  /** Answers, and pieces of their bodies. */
  pieces: number;
}

/** FloodGuard is owned by a session. */
export class FloodGuard {
  readonly #counts: Partial<Record<FloodKind, number>> = {};

  /** count notes one frame of a kind. @returns whether these are too many */
  count(kind: FloodKind, { ageMs, pieces }: Pick<Usage, 'ageMs' | 'pieces'>): boolean {
    const count = (this.#counts[kind] ?? 0) + 1;
    this.#counts[kind] = count;
    return count > BURST + (ageMs / 1000) * PER_SEC + pieces;
  }
}

/** hasControlFlood tells whether a session has sent mostly frames that carry nothing. */
export function hasControlFlood({ ageMs, readBytes, headBytes, bodyBytes, pieces }: Usage): boolean {
  const allowed =
    CONTROL_BURST_BYTES + (ageMs / 1000) * CONTROL_BYTES_PER_SEC + pieces * CONTROL_BYTES_PER_PIECE;
  return readBytes - headBytes - bodyBytes > allowed;
}
