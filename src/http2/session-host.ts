/** What a session needs of the connection that owns it. */
import type { Stream } from './stream.ts';

/** What may cost more than it carries. */
export type NoiseKind =
  /** The peer has reset one of its streams, or one that was closed, or has made us reset one. */
  | 'reset'
  | 'ping'
  | 'settings'
  /** A head above the limits, whose stream was reset. */
  | 'oversized_heads'
  /** One CONTINUATION too many; the session ends. */
  | 'continuation'
  /**
   * A malformed head or trailers, DATA without bytes, a stream above the limit, fields for a stream that is closed, trailers above the
   * limits.
   */
  | 'invalid_frames'
  /** PRIORITY, and frames of unknown types. */
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

/** SessionHost is the connection that owns a session; none of its methods may throw. What only one side hears may be absent. */
export interface SessionHost {
  /** Servers: the peer has opened a stream. The host sets `stream.events`. */
  onStream?(stream: Stream, fields: string[], ends: boolean): void;
  /** Clients need it: the peer's SETTINGS. @param maxStreams that we may open; Infinity: any number */
  onSettings?(maxStreams: number): void;
  /** Clients need it. @param lastStreamId later ones of ours were not processed */
  onGoaway?(lastStreamId: number, code: number): void;
  /** Clients: nothing can be sent any more, so no stream may begin. What has come is still delivered, and onClosed follows. */
  onUnwritable?(): void;
  /** Whoever calls ping(): it was answered. */
  onPong?(): void;
  /** Both sides: a stream has closed, for whatever reason, also our own reset; behind its own onClosed. */
  onStreamClosed(stream: Stream): void;
  /** Both sides. @param stream that the peer has reset while it was open */
  onNoise(kind: NoiseKind, stream?: Stream): void;
  /** Both sides: the session is over, and every stream has heard it. @param error null: the peer has closed it, or the host */
  onClosed(error: Error | null): void;
  /** Servers: the last call, the wire is closed too. The peer had up to LINGER_MS to close it first. */
  onWireClosed?(): void;
}
