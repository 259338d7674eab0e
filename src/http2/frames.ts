/** Numbers of RFC 9113: frame types (§6), flags, error codes (§7), settings (§6.5.2), and sizes. */

export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

export const FLAG = { END_STREAM: 1, ACK: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 32 } as const;

export const CODE = {
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

export const SETTING = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  MAX_HEADER_LIST_SIZE: 6,
  /** RFC 8441. */
  ENABLE_CONNECT_PROTOCOL: 8,
} as const;

export const FRAME_HEAD_BYTES = 9;
/** The largest payload in both directions: what every peer must take (RFC 9113 §4.2). */
export const PAYLOAD_MAX_BYTES = 16_384;
/** Of streams and connections before anybody has said otherwise. */
export const INITIAL_WINDOW_BYTES = 65_535;
/** Also the highest number of a stream. */
export const WINDOW_MAX_BYTES = 2 ** 31 - 1;
export const STREAM_ID_MAX = 2 ** 31 - 1;
export const NO_BYTES = Buffer.alloc(0);
/** What a client sends first (§3.4). */
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

/** Frame is what FrameReader gives out; the same object each time. */
export class Frame {
  type = 0;
  flags = 0;
  streamId = 0;
  /** The payload is from…to-1 of it. */
  payload: Buffer = NO_BYTES;
  from = 0;
  to = 0;

  get byteCount(): number {
    return this.to - this.from;
  }
}

/** Http2Error ends a connection with GOAWAY and its code. */
export class Http2Error extends Error {
  override readonly name = 'Http2Error';
  /** One of CODE. */
  readonly http2Code: number;

  constructor(http2Code: number, message: string) {
    super(message);
    this.http2Code = http2Code;
  }
}

export function protocolError(message: string): Http2Error {
  return new Http2Error(CODE.PROTOCOL_ERROR, message);
}

export function compressionError(message: string): Http2Error {
  return new Http2Error(CODE.COMPRESSION_ERROR, message);
}

export function sizeError(name: string): Http2Error {
  return new Http2Error(CODE.FRAME_SIZE_ERROR, `${name} of a wrong size`);
}

export function flowError(message: string): Http2Error {
  return new Http2Error(CODE.FLOW_CONTROL_ERROR, message);
}
