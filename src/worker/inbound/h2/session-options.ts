/** What one connection may take, in the words of node, whose session it is (nghttp2 enforces it). */
import type { ServerSessionOptions } from 'node:http2';
import type { LimitSettings } from '../../../contract/settings.ts';

const STREAMS_MAX = 128;
/**
 * A client may send this much of each body before anybody asks for it; at most STREAMS_MAX of these, 8 MiB, wait in a session.
 * node opens the window of the whole session as bytes come, so that a stream that waits stops no other.
 */
const STREAM_WINDOW_BYTES = 65_535;
/** Behind the window, node keeps what came while the body was read: its buffer of 64 KiB, and the frame that filled it. */
export const UNREAD_MAX_BYTES = STREAM_WINDOW_BYTES + 65_536 + 16_384;
/** Megabytes (10^6) of heads, frames and parts of answers that wait; above it the session gets no further stream. */
const MEMORY_MAX_MB = 16;
/**
 * Heads up to this many times the limits get an answer (414, 431) and not only a reset stream. Each field counts 32 bytes more
 * (RFC 9113 §6.5.2).
 */
const OVERSIZE = 2;
const FIELD_EXTRA_BYTES = 32;
/** Cookies may come in many fields (RFC 9113 §8.2.3), which are one in HTTP/1.1. */
const COOKIE_FIELDS = 128;

/** sessionOptions is asked for each connection: the limits may have changed. */
export function sessionOptions(limits: LimitSettings): ServerSessionOptions {
  const maxHeaderListPairs = OVERSIZE * limits.headerCount + COOKIE_FIELDS;
  const headBytes = OVERSIZE * (limits.headerBytes + limits.targetBytes);
  return {
    settings: {
      maxConcurrentStreams: STREAMS_MAX,
      initialWindowSize: STREAM_WINDOW_BYTES,
      maxHeaderListSize: headBytes + FIELD_EXTRA_BYTES * maxHeaderListPairs,
      enablePush: false,
      // WebSockets in streams (RFC 8441).
      enableConnectProtocol: true,
    },
    maxHeaderListPairs,
    maxSessionMemory: MEMORY_MAX_MB,
    // Entries of one SETTINGS frame.
    maxSettings: 32,
    maxSessionInvalidFrames: 100,
    maxSessionRejectedStreams: 100,
    // FloodGuard counts resets against answers, which nghttp2 cannot. So this limit is where it never acts first.
    streamResetBurst: 10_000,
    streamResetRate: 1_000,
    // A backend's answer passes as it came.
    strictSingleValueFields: false,
  };
}
