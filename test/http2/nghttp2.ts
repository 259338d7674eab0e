/** nghttp2 inside node:http2, over memory: what it makes of blocks of fields, and the blocks that it makes. */
import assert from 'node:assert/strict';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type Http2Session,
  type OutgoingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Stream,
} from 'node:http2';
import { type Duplex, duplexPair } from 'node:stream';
import { CODES, FLAGS, type Frame, frame, framesIn, PREFACE, settings, TYPES } from '../support/h2-frames.ts';

/** 'reset': the fields were read and make a malformed message. 'broken': the block cannot be read. */
export type Verdict = { fields: string[] } | 'reset' | 'broken';

const STREAM_ENDS_MAX = 400;
const PAYLOAD_BYTES = 16_384;
const ANSWER_MS = 10_000;
const RELAXED = { maxHeaderListPairs: 10_000, maxSessionInvalidFrames: 1e6, maxSessionRejectedStreams: 1e6 };

/** The frames of one end of a connection whose other end is nghttp2's. */
class Frames {
  readonly wire: Duplex;
  readonly seen: Frame[] = [];
  #unread: Buffer = Buffer.alloc(0);
  #wake: () => void = () => undefined;

  /** @param skippedBytes that come before the first frame */
  constructor(wire: Duplex, skippedBytes = 0) {
    this.wire = wire;
    let skip = skippedBytes;
    wire.on('error', () => undefined);
    wire.on('close', () => this.#wake());
    wire.on('data', (bytes: Buffer) => {
      const { frames, rest } = framesIn(Buffer.concat([this.#unread, bytes.subarray(skip)]));
      skip = Math.max(0, skip - bytes.length);
      this.#unread = rest;
      this.seen.push(...frames);
      this.#wake();
    });
  }

  /** until waits for a frame. */
  async until(what: string, fits: (frame: Frame) => boolean): Promise<Frame> {
    const deadline = setTimeout(() => this.wire.destroy(), ANSWER_MS);
    for (;;) {
      const found = this.seen.find(fits);
      if (found !== undefined || this.wire.destroyed) {
        clearTimeout(deadline);
        if (found === undefined) throw new Error(`no ${what} before the end of the connection`);
        return found;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** sendBlock sends a block in as many frames as it needs, and waits until nghttp2 has read them. @returns the code of a reset or a GOAWAY, or null */
  async sendBlock(streamId: number, block: Buffer, ends: boolean): Promise<'broken' | number | null> {
    const parts: Buffer[] = [];
    for (let at = 0; at === 0 || at < block.length; at += PAYLOAD_BYTES) {
      const isLast = at + PAYLOAD_BYTES >= block.length;
      const flags = (at === 0 && ends ? FLAGS.endStream : 0) | (isLast ? FLAGS.endHeaders : 0);
      const type = at === 0 ? TYPES.headers : TYPES.continuation;
      parts.push(frame(type, flags, streamId, block.subarray(at, at + PAYLOAD_BYTES)));
    }
    this.seen.length = 0;
    this.wire.write(Buffer.concat([...parts, frame(TYPES.ping, 0, 0, Buffer.alloc(8, 1))]));
    const isAnswer = ({ type, flags }: Frame) =>
      type === TYPES.goaway || (type === TYPES.ping && flags === FLAGS.ack);
    const { type, payload } = await this.until('answer to a PING', isAnswer);
    if (type === TYPES.goaway) {
      const code = payload.readUInt32BE(4);
      if (code === CODES.COMPRESSION_ERROR) return 'broken';
      throw new Error(`GOAWAY with ${code}: ${block.toString('hex')}`);
    }
    const reset = this.seen.find((each) => each.type === TYPES.reset && each.stream === streamId);
    return reset === undefined ? null : reset.payload.readUInt32BE(0);
  }
}

function verdictOf(code: 'broken' | number | null, fields: string[] | undefined): Verdict {
  if (code === 'broken') return code;
  if (fields !== undefined) return { fields };
  if (code === CODES.PROTOCOL_ERROR) return 'reset';
  throw new Error(`neither fields nor a reset with PROTOCOL_ERROR: ${code}`);
}

abstract class Peer implements Disposable {
  protected abstract readonly session: Http2Session;
  protected abstract readonly frames: Frames;
  protected streamId = -1;

  /** Another one must take its place: nghttp2 ends a connection with too many errors. */
  get isWorn(): boolean {
    return this.streamId > 2 * STREAM_ENDS_MAX || this.session.destroyed;
  }

  close(): void {
    this.session.destroy();
    this.frames.wire.destroy();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

export class Nghttp2Server extends Peer {
  protected readonly session;
  protected readonly frames: Frames;
  readonly #fields = new Map<number, string[]>();

  constructor() {
    super();
    const [near, far] = duplexPair();
    this.frames = new Frames(near);
    const options = { enableConnectProtocol: true, maxHeaderListSize: 1e6 };
    this.session = performServerHandshake(far, { ...RELAXED, settings: options });
    this.session.on('error', () => undefined);
    this.session.on('stream', (stream: ServerHttp2Stream, _fields, _flags, raw: string[]) => {
      this.#fields.set(stream.id ?? 0, [...raw]);
      stream.on('error', () => undefined);
      stream.respond({ ':status': 204 }, { endStream: true });
    });
    near.write(Buffer.concat([Buffer.from(PREFACE), settings(), frame(TYPES.settings, FLAGS.ack, 0)]));
  }

  /** judge sends a block as a request. @param ends whether no body follows */
  async judge(block: Buffer, ends = true): Promise<Verdict> {
    this.streamId += 2;
    const code = await this.frames.sendBlock(this.streamId, block, ends);
    return verdictOf(code, this.#fields.get(this.streamId));
  }

  /** limitTable announces a SETTINGS_HEADER_TABLE_SIZE, and acknowledges it for the encoder under test. */
  async limitTable(bytes: number): Promise<void> {
    this.frames.seen.length = 0;
    this.session.settings({ headerTableSize: bytes });
    await this.frames.until('SETTINGS', ({ type, flags }) => type === TYPES.settings && flags === 0);
    this.frames.wire.write(frame(TYPES.settings, FLAGS.ack, 0));
  }
}

export class Nghttp2Client extends Peer {
  protected readonly session: ClientHttp2Session;
  protected readonly frames: Frames;

  constructor() {
    super();
    const [near, far] = duplexPair();
    this.frames = new Frames(near, PREFACE.length);
    this.session = connect('http://a', { ...RELAXED, createConnection: () => far });
    this.session.on('error', () => undefined);
    near.write(Buffer.concat([settings(), frame(TYPES.settings, FLAGS.ack, 0)]));
  }

  /** blockOf lets nghttp2 send a request. @returns its block */
  async blockOf(fields: OutgoingHttpHeaders): Promise<Buffer> {
    const [block, stream] = await this.#request(fields);
    stream.on('error', () => undefined).resume();
    // `:status: 200`, and the end of the stream.
    await this.frames.sendBlock(this.streamId, Buffer.from([0x88]), true);
    return block;
  }

  /** judge sends a block as the head of an answer. */
  async judge(block: Buffer, ends: boolean): Promise<Verdict> {
    const [, stream] = await this.#request({});
    let fields: string[] | undefined;
    const take = (_fields: unknown, _flags: number, raw: string[]) => {
      fields ??= [...raw];
    };
    stream.on('response', take as never).on('headers', take as never);
    stream.on('error', () => undefined).resume();
    const code = await this.frames.sendBlock(this.streamId, block, ends);
    stream.destroy();
    return verdictOf(code, fields);
  }

  /** limitTable announces a SETTINGS_HEADER_TABLE_SIZE, and waits until nghttp2 keeps to it. */
  async limitTable(bytes: number): Promise<void> {
    this.frames.seen.length = 0;
    this.frames.wire.write(settings([1, bytes]));
    await this.frames.until(
      'SETTINGS ACK',
      ({ type, flags }) => type === TYPES.settings && flags === FLAGS.ack,
    );
  }

  async #request(fields: OutgoingHttpHeaders): Promise<[Buffer, ClientHttp2Stream]> {
    this.streamId += 2;
    this.frames.seen.length = 0;
    const request = this.session.request(fields, { endStream: true });
    const isHead = ({ type, stream }: Frame) => type === TYPES.headers && stream === this.streamId;
    const { payload, flags } = await this.frames.until('HEADERS', isHead);
    assert.equal(flags & ~FLAGS.endStream, FLAGS.endHeaders, 'a block in one frame, without priority');
    return [payload, request];
  }
}
