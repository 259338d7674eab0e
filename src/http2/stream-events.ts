/** What the owner of a stream hears. */

/** StreamEvents is what the owner of a stream hears; none of them may throw. */
export interface StreamEvents {
  /**
   * A head or trailers. Of streams that the peer has opened: trailers only. @param fields name, value, name, value…, checked by
   * field-rules.ts @param ends whether END_STREAM came with them: onEnd follows
   */
  onFields(fields: string[], ends: boolean): void;
  /**
   * Bytes of the body, 1 or more. They may be read until this returns or, if pause() was called in it, until resume() or the end of
   * the stream. A piece smaller than SMALL_PIECE_BYTES may be read until this returns, whatever was called.
   */
  onData(piece: Buffer): void;
  /** The peer has ended the stream, and all before that was delivered. */
  onEnd(): void;
  /** Everything that write() was given is in frames; called once after it returned false. */
  onDrain(): void;
  /**
   * The last call, and none after our own reset(). NO_ERROR and `isWhole`: both sides have ended, and all is in frames. Else the code with
   * which the peer reset the stream, or the session has ended. What waits, because the stream is paused, is still delivered
   * where the peer has ended it.
   */
  onClosed(code: number): void;
}

/** The events of a stream until its owner sets them, and after our reset. */
export const NOBODY: StreamEvents = {
  onFields: () => undefined,
  onData: () => undefined,
  onEnd: () => undefined,
  onDrain: () => undefined,
  onClosed: () => undefined,
};
