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

/** What may come at once of a kind, and how much of it is forgiven a second; answers or pieces forgive one each. */
interface Allowance {
  burst: number;
  perSec: number;
}
const CONTROL: Allowance = { burst: 200, perSec: 20 };
/** PRIORITY and unknown frames, which cost next to nothing; they are bounded by their bytes, too. */
const USELESS: Allowance = { burst: 10_000, perSec: 20 };
/** Heads that became no request, and frames that make no sense. */
const LOST: Allowance = { burst: 100, perSec: 1 };
/** Bytes of frames that are neither heads nor bodies, over the life of a connection: at first, a second, and for each answer or piece. */
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

  readonly #budgets: Partial<Record<NoiseKind, Budget>> = {};

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
    switch (kind) {
      case 'continuation':
        // The session has a limit for each head.
        return true;
      case 'oversized_heads':
      case 'invalid_frames':
        return this.#spend(kind, LOST, ageMs, this.answers);
      case 'reset':
        // A reset request has cost a backend more than a piece of an upload costs its client.
        return this.#spend(kind, CONTROL, ageMs, this.answers);
      default:
        return this.#spend(kind, kind === 'control' ? USELESS : CONTROL, ageMs, this.pieces);
    }
  }

  #spend(kind: NoiseKind, { burst, perSec }: Allowance, ageMs: number, forgiven: number): boolean {
    this.#budgets[kind] ??= new Budget();
    return this.#budgets[kind].spend((ageMs / 1000) * perSec + forgiven) > burst;
  }

  /** isOverBudget is asked about once a second. @param readBytes of the connection */
  isOverBudget(ageMs: number, readBytes: number): boolean {
    const allowedBytes =
      CONTROL_BURST_BYTES + (ageMs / 1000) * CONTROL_BYTES_PER_SEC + this.pieces * CONTROL_BYTES_PER_PIECE;
    return readBytes - this.headBytes - this.bodyBytes > allowedBytes;
  }
}

/** A leaky bucket: what is forgiven while it is empty is lost. So a connection cannot save up for a flood. */
class Budget {
  #level = 0;
  #forgiven = 0;

  /** @param forgiven since the connection began @returns how many have come and are not forgiven, with this one */
  spend(forgiven: number): number {
    this.#level = Math.max(0, this.#level - (forgiven - this.#forgiven)) + 1;
    this.#forgiven = forgiven;
    return this.#level;
  }
}
