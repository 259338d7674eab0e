/** What becomes of generated frames: at a peer over loopback, and in a session of ours in memory. */
import { connect, type Socket } from 'node:net';
import type { Http2Error } from '../../src/http2/frames.ts';
import type { RawSession } from '../http2/raw-session.ts';
import { type StreamOwner, turns } from '../http2/session-scene.ts';
import { type Frame, framesIn, TYPES } from '../support/h2-frames.ts';
import { waitFor } from '../support/wait.ts';

/** A message, and what follows it, as the side that reads it saw it. */
export interface Seen {
  /** Of the request, or of all heads of the answer. */
  fields: string[];
  body: string;
  trailers: string[] | null;
  ended: boolean;
  /** By the side that sends it. */
  wasReset: boolean;
}

export interface Outcome {
  /** Why the connection ended; '': it did not. */
  error: string;
  /** By stream. */
  seen: Map<number, Seen>;
  /** Streams that were reset by the side that reads. */
  resets: Map<number, number>;
}

export interface OurOutcome extends Outcome {
  log: string[];
}

export const WINDOW_BYTES = 65_535;
/** Each part ends with this PING. */
export const PROBE = Buffer.from('anyone??', 'latin1');
/** Frames that are no end of anything are not answered. */
const SWALLOWED_MS = 2_000;

/** FrameSocket sends parts to a peer, and remembers the frames that come back. */
export class FrameSocket {
  readonly #socket: Socket;
  readonly #frames: Frame[] = [];
  #rest: Buffer = Buffer.alloc(0);
  #isClosed = false;

  /** @param skipBytes come before the first frame */
  constructor(socket: Socket, skipBytes: number) {
    this.#socket = socket;
    let skipped = 0;
    socket.setNoDelay().on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      const from = Math.min(chunk.length, skipBytes - skipped);
      skipped += from;
      const { frames, rest } = framesIn(Buffer.concat([this.#rest, chunk.subarray(from)]));
      this.#rest = rest;
      this.#frames.push(...frames);
    });
    socket.on('close', () => (this.#isClosed = true));
  }

  static async connect(port: number): Promise<{ peer: FrameSocket; localPort: number }> {
    const socket = connect(port, '127.0.0.1');
    const peer = new FrameSocket(socket, 0);
    await new Promise((resolve) => socket.once('connect', resolve));
    return { peer, localPort: socket.localPort ?? 0 };
  }

  /** until waits until the frames are those, the connection is over, or for SWALLOWED_MS. */
  async until(isThere: (frames: readonly Frame[]) => boolean): Promise<void> {
    const end = performance.now() + SWALLOWED_MS;
    const isOver = (): boolean => this.#isClosed || errorIn(this.#frames) !== '' || isThere(this.#frames);
    await waitFor('frames', () => isOver() || performance.now() > end, { everyMs: 1 });
  }

  /** sendAll sends the parts one after the other, each when the one before was read. */
  async sendAll(parts: readonly Buffer[]): Promise<void> {
    for (const [i, part] of parts.entries()) {
      if (this.#isClosed || errorIn(this.#frames) !== '') return;
      this.#socket.write(part);
      await this.until((frames) => frames.filter(isAnswer).length > i);
    }
  }

  outcome(seen: Map<number, Seen>): Outcome {
    const error = errorIn(this.#frames) || (this.#isClosed ? 'closed' : '');
    return { error, seen, resets: resetsIn(this.#frames) };
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** largeReads is where the reads end that are as large as they can be. */
export function largeReads({ length }: Buffer): number[] {
  return Array.from({ length: Math.ceil(length / 65_536) }, (_, i) => Math.min(length, 65_536 * (i + 1)));
}

/** feedAll gives the parts to a session of ours; `endsOf` says where the reads of a part end. Then the peer is gone. */
export async function feedAll(
  raw: RawSession,
  parts: readonly Buffer[],
  endsOf: (part: Buffer) => number[],
  seenBy: (owner: StreamOwner) => Seen,
  owners: readonly StreamOwner[] = raw.host.requests,
): Promise<OurOutcome> {
  const { session } = raw.host;
  const log: string[] = [];
  raw.host.onAny = (event) => log.push(event);
  for (const part of parts) {
    let at = 0;
    for (const end of endsOf(part)) {
      raw.feed(part.subarray(at, end));
      at = end;
    }
    await turns(1);
  }
  const seen = new Map(owners.map((owner) => [owner.stream.id, seenBy(owner)]));
  const error = raw.host.closedBy as Http2Error | null | undefined;
  const code = error === undefined ? '' : `${error?.http2Code} ${error?.message}`;
  const outcome = { error: code, seen, resets: resetsIn(raw.written()), log };
  session.onEnd();
  if (session.streamCount > 0) throw new Error('streams stay open after the end');
  for (const { log: events, stream } of owners)
    if (!stream.isClosed || events.indexOf('closed') < events.length - 1)
      throw new Error(`events after the end: ${events}`);
  return outcome;
}

function isAnswer({ type, flags, payload }: Frame): boolean {
  return type === TYPES.ping && flags === 1 && payload.equals(PROBE);
}

function errorIn(frames: readonly Frame[]): string {
  for (const { type, payload } of frames)
    if (type === TYPES.goaway && payload.readUInt32BE(4) !== 0)
      return `${payload.readUInt32BE(4)} ${payload.toString('latin1', 8)}`;
  return '';
}

function resetsIn(frames: readonly Frame[]): Map<number, number> {
  const resets = frames.filter(({ type }) => type === TYPES.reset);
  return new Map(resets.map(({ stream, payload }) => [stream, payload.readUInt32BE(0)]));
}
