/** An HTTP/2 client that sends exactly the given frames, and shows the frames that come back. Fields are sent without Huffman or index. */
import { connectRaw, type RawClient, type RawTarget } from './raw-http.ts';
import { waitFor } from './wait.ts';

export const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

export const TYPES = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goaway: 7,
  window: 8,
  continuation: 9,
} as const;

export const FLAGS = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 32 } as const;
export const CODES = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  ENHANCE_YOUR_CALM: 11,
} as const;

export interface Frame {
  type: number;
  flags: number;
  stream: number;
  payload: Buffer;
}

export type Fields = readonly (readonly [name: string, value: string])[];

/** frame makes the bytes of one frame. @param length the length field, where it is to lie */
export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Buffer | string = '',
  length?: number,
): Buffer {
  const body = typeof payload === 'string' ? Buffer.from(payload, 'latin1') : payload;
  const head = Buffer.alloc(9);
  head.writeUIntBE(length ?? body.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, body]);
}

/** framesIn reads all whole frames. */
export function framesIn(bytes: Buffer): { frames: Frame[]; rest: Buffer } {
  const frames: Frame[] = [];
  let rest = bytes;
  while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
    const end = 9 + rest.readUIntBE(0, 3);
    const [type = 0, flags = 0] = [rest[3], rest[4]];
    frames.push({ type, flags, stream: rest.readUInt32BE(5), payload: rest.subarray(9, end) });
    rest = rest.subarray(end);
  }
  return { frames, rest };
}

/** number32 is a payload of 4-byte numbers. */
export function number32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [i, value] of values.entries()) bytes.writeUInt32BE(value >>> 0, 4 * i);
  return bytes;
}

/** settings makes a SETTINGS frame. */
export function settings(...entries: [id: number, value: number][]): Buffer {
  const bytes = Buffer.alloc(6 * entries.length);
  for (const [i, [id, value]] of entries.entries()) {
    bytes.writeUInt16BE(id, 6 * i);
    bytes.writeUInt32BE(value >>> 0, 6 * i + 2);
  }
  return frame(TYPES.settings, 0, 0, bytes);
}

/** block encodes fields as literals that are not indexed (RFC 7541 §6.2.2). */
export function block(fields: Fields): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]));
}

function literal(text: string): Buffer {
  return Buffer.concat([integer(text.length, 7), Buffer.from(text, 'latin1')]);
}

/** integer encodes a number with a prefix of this many bits (RFC 7541 §5.1). */
export function integer(value: number, bits: number): Buffer {
  const most = 2 ** bits - 1;
  if (value < most) return Buffer.from([value]);
  const bytes = [most];
  let rest = value - most;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** prefixed encodes a number behind the bits that say what it is. */
export function prefixed(kind: number, bits: number, value: number): Buffer {
  const bytes = integer(value, bits);
  bytes[0]! |= kind;
  return bytes;
}

/** request is the pseudo-header fields of a request, and further fields. */
export function request(more: Fields = [], { method = 'GET', path = '/', authority = 'a' } = {}): Fields {
  return [[':method', method], [':scheme', 'http'], [':authority', authority], [':path', path], ...more];
}

/** webSocket is the fields that open a WebSocket in a stream (RFC 8441 §4). */
export function webSocket(): Fields {
  return [[':protocol', 'websocket'], ...request([['sec-websocket-version', '13']], { method: 'CONNECT' })];
}

/** headers makes a HEADERS frame with a whole block. */
export function headers(stream: number, fields: Fields, { ends = true } = {}): Buffer {
  return frame(TYPES.headers, FLAGS.endHeaders | (ends ? FLAGS.endStream : 0), stream, block(fields));
}

/** data makes a DATA frame. */
export function data(stream: number, payload: Buffer | string, { ends = false } = {}): Buffer {
  return frame(TYPES.data, ends ? FLAGS.endStream : 0, stream, payload);
}

/** FrameClient is a connection on which every byte is the test's. */
export class FrameClient {
  readonly raw: RawClient;
  readonly frames: Frame[] = [];

  constructor(raw: RawClient) {
    this.raw = raw;
  }

  get closed(): boolean {
    return this.raw.closed || this.raw.ended;
  }

  send(...frames: (Buffer | string)[]): void {
    this.raw.write(Buffer.concat(frames.map((each) => Buffer.from(each as string, 'latin1'))));
  }

  /** wait waits for a frame, and returns the first one that fits. */
  wait(what: string, fits: (frame: Frame) => boolean, timeoutMs = 15_000): Promise<Frame> {
    return waitFor(what, () => this.#read().find(fits), { timeoutMs, everyMs: 2 }).catch((error: Error) => {
      throw new Error(
        `${error.message}; closed: ${this.closed}; got ${JSON.stringify(this.frames.map(shown))}`,
      );
    });
  }

  /** status waits for the head of the answer on a stream. */
  async status(stream: number): Promise<number> {
    const { payload } = await this.wait(
      `an answer on stream ${stream}`,
      ({ type, stream: of }) => type === TYPES.headers && of === stream,
    );
    return statusOf(payload);
  }

  /** resetCode waits for the RST_STREAM of a stream. */
  async resetCode(stream: number): Promise<number> {
    const { payload } = await this.wait(
      `a reset of stream ${stream}`,
      ({ type, stream: of }) => type === TYPES.reset && of === stream,
    );
    return payload.readUInt32BE(0);
  }

  /** pong waits for a PING, and answers it. */
  async pong(): Promise<void> {
    const { payload } = await this.wait('a PING', ({ type, flags }) => type === TYPES.ping && flags === 0);
    this.send(frame(TYPES.ping, FLAGS.ack, 0, payload));
  }

  /** goaway waits for a GOAWAY. @returns its code */
  async goaway(timeoutMs = 15_000): Promise<number> {
    const { payload } = await this.wait('a GOAWAY', ({ type }) => type === TYPES.goaway, timeoutMs);
    return payload.readUInt32BE(4);
  }

  /** goaways are all that came so far: the last stream that is served, and the code. */
  goaways(): [lastStream: number, code: number][] {
    return this.all(TYPES.goaway, 0).map(({ payload }) => [payload.readUInt32BE(0), payload.readUInt32BE(4)]);
  }

  /** body is what came so far of an answer. */
  body(stream: number): string {
    const parts = this.#read().filter(({ type, stream: of }) => type === TYPES.data && of === stream);
    return parts.map(({ payload }) => payload.toString('latin1')).join('');
  }

  all(type: number, stream: number): Frame[] {
    return this.#read().filter((each) => each.type === type && each.stream === stream);
  }

  #read(): Frame[] {
    const { frames, rest } = framesIn(this.raw.received);
    this.frames.push(...frames);
    this.raw.received = rest;
    return this.frames;
  }

  close(): void {
    this.raw.close();
  }
}

/** connectFrames opens a connection and sends the preface and these settings. @param start null: nothing is sent */
export async function connectFrames(
  target: RawTarget,
  start: Buffer | null = settings(),
): Promise<FrameClient> {
  const client = new FrameClient(await connectRaw(target));
  if (start !== null) client.send(PREFACE, start);
  return client;
}

/** Statuses of the static table (RFC 7541 Appendix A), from index 8 on. */
const STATUSES = [200, 204, 206, 304, 400, 404, 500];

/** The first field of an answer is its status: of the static table, or a literal whose name is. */
function statusOf(payload: Buffer): number {
  const [first = 0, length = 0] = payload;
  const status = first >= 0x80 ? STATUSES[first - 0x88] : Number(payload.toString('latin1', 2, 2 + length));
  // The third answer in a row with any other status has it from the dynamic table, which nobody keeps here.
  if (status === undefined || Number.isNaN(status))
    throw new Error(`an unreadable status: ${payload.toString('hex')}`);
  return status;
}

function shown({ type, flags, stream, payload }: Frame): string {
  return `${Object.keys(TYPES)[type] ?? type} ${flags} ${stream} ${payload.subarray(0, 40).toString('hex')}`;
}
