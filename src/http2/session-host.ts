/** What a session needs of the connection that owns it. */
import type { Stream } from './stream.ts';

/**
 * What may cost more than it carries. reset: the peer has reset one of its streams, or one that was closed, or has made us reset one.
 * oversized_heads: a head above the limits, whose stream was reset. invalid_frames: a malformed head or trailers, DATA without bytes, a
 * stream above the limit, fields for a stream that is closed, trailers above the limits. control: PRIORITY and frames of unknown types.
 */
export type NoiseKind =
  | 'reset'
  | 'ping'
  | 'settings'
  | 'oversized_heads'
  | 'continuation'
  | 'invalid_frames'
  | 'control';

export interface SessionOptions {
  isServer: boolean;
  /** What the peer may send to each stream, and to the connection, before somebody takes it. */
  streamWindowBytes: number;
  connectionWindowBytes: number;
  /** Of a server: the streams that a client may open at a time. A client allows none. */
  maxStreams: number;
  /** Limits of a head; each field counts 32 bytes more (RFC 9113 §6.5.2). */
  maxFields: number;
  maxListBytes: number;
}

/** SessionHost is the connection that owns a session; none of its methods may throw. */
export interface SessionHost {
  /** The peer has opened a stream. The host sets `stream.events`. Only a server hears it. */
  onStream(stream: Stream, fields: string[], ends: boolean): void;
  /** A stream has closed, for whatever reason; behind its own onClosed. */
  onStreamClosed(stream: Stream): void;
  /** The peer's SETTINGS. @param maxStreams that we may open; Infinity: any number */
  onSettings(maxStreams: number): void;
  /** @param lastStreamId later ones of ours were not processed */
  onGoaway(lastStreamId: number, code: number): void;
  onPong(): void;
  onNoise(kind: NoiseKind): void;
  /** The session is over, and every stream has heard it. @param error null: the peer has closed it, or the host */
  onClosed(error: Error | null): void;
  /** The last call: the wire is closed too. The peer had up to LINGER_MS to close it first. */
  onWireClosed(): void;
}
