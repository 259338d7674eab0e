/** What one connection may take. */
import type { LimitSettings } from '../../../contract/settings.ts';
import type { SessionOptions } from '../../../http2/session-host.ts';

const STREAMS_MAX = 128;
/** A client may send this much of each body that nobody has taken; at most STREAMS_MAX of these, 8 MiB, wait in a session. */
export const STREAM_WINDOW_BYTES = 65_535;
/** That is also the most that is on its way for streams that are no longer served. */
export const WINDOWS_BYTES = STREAMS_MAX * STREAM_WINDOW_BYTES;
/** What may be on its way to all streams. It opens as bytes come, so that a stream that waits stops no other. */
const CONNECTION_WINDOW_BYTES = 1 << 20;
/** Heads up to this many times the limits get an answer (414, 431). Larger ones end their stream. */
const OVERSIZE = 2;
/** Each field counts this much more (RFC 9113 §6.5.2). */
const FIELD_EXTRA_BYTES = 32;
/** Cookies may come in many fields (RFC 9113 §8.2.3), which are one in HTTP/1.1. */
const COOKIE_FIELDS = 128;

/** sessionOptions is asked for each connection: the limits may have changed. */
export function sessionOptions(limits: LimitSettings): SessionOptions {
  const maxFields = OVERSIZE * limits.headerCount + COOKIE_FIELDS;
  const headBytes = OVERSIZE * (limits.headerBytes + limits.targetBytes);
  return {
    isServer: true,
    streamWindowBytes: STREAM_WINDOW_BYTES,
    connectionWindowBytes: CONNECTION_WINDOW_BYTES,
    maxStreams: STREAMS_MAX,
    maxFields,
    maxListBytes: headBytes + FIELD_EXTRA_BYTES * maxFields,
  };
}
