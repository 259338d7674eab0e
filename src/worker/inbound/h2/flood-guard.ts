/**
 * Tells when the frames of a connection cost more than they carry. Each kind has a budget, which real clients never use up: what they
 * send beside requests is in proportion to requests and answers.
 */
import type { NoiseKind } from '../../../http2/session-host.ts';

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

/** Resets of streams, or control frames, that may come at once; then this many a second, and one for each answer or piece. */
const BURST = 200;
const PER_SEC = 20;
/** PRIORITY and unknown frames, which cost next to nothing; they are bounded by their bytes, too. */
const USELESS_BURST = 10_000;
/** Heads that became no request, and frames that make no sense: so many, and one for each answer. */
const LOST_MAX = 100;
/** Bytes of frames that are neither heads nor bodies: at once, a second, and for each answer or piece. */
const CONTROL_BURST_BYTES = 1 << 20;
const CONTROL_BYTES_PER_SEC = 1_024;
const CONTROL_BYTES_PER_PIECE = 64;
/** Clients written in Go send two window updates, 26 bytes, for each 4 KiB that they read. */
const PIECE_MAX_BYTES = 4_096;

/** FloodGuard is owned by a connection, which writes the counts with its streams. */
export class FloodGuard {
  /** Bytes of heads that became requests. */
  headBytes = 0;
  bodyBytes = 0;
  answers = 0;
  /** Answers, and pieces of bodies and tunnels in both directions. */
  pieces = 0;

  readonly #frames: Partial<Record<NoiseKind, number>> = {};

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
  count(kind: NoiseKind, ageMs: number): boolean {
    const count = (this.#frames[kind] ?? 0) + 1;
    this.#frames[kind] = count;
    const earned = (ageMs / 1000) * PER_SEC;
    switch (kind) {
      case 'continuation':
        // The session has a limit for each head.
        return true;
      case 'oversized_heads':
      case 'invalid_frames':
        return count > LOST_MAX + this.answers;
      case 'reset':
        // A reset request has cost a backend more than a piece of an upload costs its client.
        return count > BURST + earned + this.answers;
      default:
        return count > (kind === 'control' ? USELESS_BURST : BURST) + earned + this.pieces;
    }
  }

  /** isOverBudget is asked about once a second. @param readBytes of the connection */
  isOverBudget(ageMs: number, readBytes: number): boolean {
    const allowedBytes =
      CONTROL_BURST_BYTES + (ageMs / 1000) * CONTROL_BYTES_PER_SEC + this.pieces * CONTROL_BYTES_PER_PIECE;
    return readBytes - this.headBytes - this.bodyBytes > allowedBytes;
  }
}
