/** A session whose peer is the test: frames are fed to it, and the frames that it writes are shown. */
import type { SessionOptions } from '../../src/http2/session-host.ts';
import {
  type Frame,
  frame,
  framesIn,
  headers,
  number32,
  PREFACE,
  request,
  settings,
  TYPES,
} from '../support/h2-frames.ts';
import { POISON } from '../support/poisoned-buffers.ts';
import { StuckWire } from '../support/stuck-wire.ts';
import { startSession, type TestHost } from './session-scene.ts';

export class RawSession {
  readonly host: TestHost;
  readonly wire = new StuckWire();
  #readAt: number;

  constructor(options: Partial<SessionOptions> = {}) {
    this.host = startSession(() => this.wire, options);
    const { session } = this.host;
    this.wire.onDrain = () => session.onDrain();
    if (options.isServer === false) session.onConnect();
    this.#readAt = options.isServer === false ? PREFACE.length : 0;
  }

  /** feed gives the session one read. */
  feed(bytes: Buffer): void {
    const { session } = this.host;
    const memory = session.nextBuffer();
    if (bytes.length > memory.length) throw new Error('a read that is too large');
    bytes.copy(memory);
    session.onRead(bytes.length);
    memory.fill(POISON, 0, bytes.length);
  }

  /** send gives the session frames, in one read. */
  send(...frames: Buffer[]): void {
    this.feed(Buffer.concat(frames));
  }

  /** begin sends what a peer begins with. */
  begin(...entries: [id: number, value: number][]): this {
    if (this.#readAt === 0) this.feed(Buffer.from(PREFACE, 'latin1'));
    this.send(settings(...entries));
    return this;
  }

  /** written flushes, and returns the frames that the wire has taken since the last call. */
  written(): Frame[] {
    this.host.session.flush();
    const { frames, rest } = framesIn(Buffer.from(this.wire.text.slice(this.#readAt), 'latin1'));
    this.#readAt = this.wire.text.length - rest.length;
    return frames;
  }

  /** shown is `written`, in words. */
  shown(): string[] {
    return this.written().map(shownFrame);
  }

  /** goawayCode is the code of the GOAWAY that ended the session. */
  goawayCode(): number {
    const last = this.written().findLast(({ type }) => type === TYPES.goaway);
    return last === undefined ? -1 : last.payload.readUInt32BE(4);
  }
}

/** A request without a body. */
export const GET = (stream: number): Buffer => headers(stream, request());

/** A window that nothing here uses up. */
export const MANY = 2 ** 30;

/** update makes a WINDOW_UPDATE. */
export function update(stream: number, byteCount: number): Buffer {
  return frame(TYPES.window, 0, stream, number32(byteCount));
}

/** serve makes a server with this many requests, and large windows. */
export function serve(count: number, entries: [number, number][] = [[4, MANY]]): RawSession {
  const session = new RawSession().begin(...entries);
  session.send(update(0, MANY));
  for (let i = 0; i < count; i++) session.send(GET(2 * i + 1));
  session.written();
  return session;
}

function shownFrame({ type, flags, stream, payload }: Frame): string {
  const name = Object.keys(TYPES)[type];
  const isEnd = (type === TYPES.data || type === TYPES.headers) && flags & 1 ? ' END' : '';
  const size = type === TYPES.data ? ` ${payload.length}` : '';
  const number = type === TYPES.reset || type === TYPES.window ? ` ${payload.readUInt32BE(0)}` : '';
  return `${name} ${stream}${size}${number}${isEnd}`;
}
