/**
 * Tells when the frames of a connection cost more than they carry. Each kind has a budget, which real clients never use up: what they
 * send beside requests is in proportion to requests and answers. Where nghttp2 has a limit of its own it is used (session-options.ts).
 */

import { systemCodeOf } from '../../../contract/errors.ts';

/** Values of the label `kind` of sluice_http2_floods_total. */
export const FLOOD_KINDS = [
  'reset',
  'ping',
  'settings',
  'oversized_heads',
  'control_bytes',
  'continuation',
  'invalid_frames',
] as const;
export type FloodKind = (typeof FLOOD_KINDS)[number];

const NGHTTP2_ERR_TOO_MANY_CONTINUATIONS = -905;

/** floodOf is the kind by which nghttp2 or node has ended a session with this error; null for no flood, such as a malformed frame. */
export function floodOf(error: Error): FloodKind | null {
  if ('errno' in error && error.errno === NGHTTP2_ERR_TOO_MANY_CONTINUATIONS) return 'continuation';
  return systemCodeOf(error) === 'ERR_HTTP2_TOO_MANY_INVALID_FRAMES' ? 'invalid_frames' : null;
}

/** Resets of streams, or control frames, that may come at once; then this many a second, and one for each answer or piece. */
const BURST = 200;
const PER_SEC = 20;
/** Heads that became no request: so many, and one for each answer. */
const LOST_HEADS_MAX = 100;
/** Bytes of frames that are neither heads nor bodies: at once, a second, and for each answer or piece. */
const CONTROL_BURST_BYTES = 1 << 20;
const CONTROL_BYTES_PER_SEC = 1_024;
const CONTROL_BYTES_PER_PIECE = 64;
/** Clients written in Go send two window updates, 26 bytes, for each 4 KiB that they read. */
const PIECE_MAX_BYTES = 4_096;

/** FloodGuard is owned by a connection, which writes the counts with its streams. */
export class FloodGuard {
  /** Heads that became requests, and their bytes. */
  requests = 0;
  headBytes = 0;
  bodyBytes = 0;
  answers = 0;
  /** Answers, and pieces of bodies and tunnels in both directions. */
  pieces = 0;

  readonly #frames: Partial<Record<FloodKind, number>> = {};

  /** sent notes bytes for the client, in one or more pieces. */
  sent(byteCount: number): void {
    this.pieces += Math.ceil(byteCount / PIECE_MAX_BYTES);
  }

  /** received notes what the client has sent in one frame. */
  received(byteCount: number): void {
    this.bodyBytes += byteCount;
    this.sent(byteCount);
  }

  /** count notes one frame of a kind. @param ageMs of the connection @returns whether these are too many */
  count(kind: FloodKind, ageMs: number): boolean {
    const count = (this.#frames[kind] ?? 0) + 1;
    this.#frames[kind] = count;
    // A reset request has cost a backend more than a piece of an upload costs its client.
    const earned = kind === 'reset' ? this.answers : this.pieces;
    return count > BURST + (ageMs / 1000) * PER_SEC + earned;
  }

  /**
   * look is called about once a second.
   * @param readBytes of the connection
   * @param headCount heads that have begun to come
   */
  look(ageMs: number, readBytes: number, headCount: number): FloodKind | null {
    const allowedBytes =
      CONTROL_BURST_BYTES + (ageMs / 1000) * CONTROL_BYTES_PER_SEC + this.pieces * CONTROL_BYTES_PER_PIECE;
    if (readBytes - this.headBytes - this.bodyBytes > allowedBytes) return 'control_bytes';
    return headCount - this.requests > LOST_HEADS_MAX + this.answers ? 'oversized_heads' : null;
  }
}
