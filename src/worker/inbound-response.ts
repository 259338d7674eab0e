/**
 * Node's ServerResponse with the way back to who answers. What an answer needs is asked of it in words of our own, so that a
 * lighter object (short-response.ts) can do the same without it.
 */
import type { InboundRequest } from './inbound-request.ts';
import { type AnswerHead, FramedResponse } from './response-heads.ts';

/** Hears what becomes of an answer. */
export interface SentListener {
  /** Part of it waits for the client to take it. */
  blocked(): void;
  /** The last byte has left. */
  sent(): void;
}

/** InboundResponse is node's response with the way back to who answers, or a lighter one that becomes it with unfold(). */
export class InboundResponse extends FramedResponse<InboundRequest> {
  downstream: SentListener | null = null;

  /**
   * sendWhole sends an answer of one piece (latin1) past node's response; false: it cannot, unfold it and go on.
   * @param atOnce whether the listener may be called before sendWhole returns; else a tick later, as node's own `finish`
   */
  sendWhole(_head: AnswerHead, _body: string, _listener: SentListener, _atOnce: boolean): boolean {
    return false;
  }

  /**
   * beginStream takes an answer whose body follows in pieces; false: it cannot, unfold it and write the head.
   * Its head leaves with the first piece, or with flushHead.
   */
  beginStream(_head: AnswerHead): boolean {
    return false;
  }

  /** unfold comes before any other call of node's own methods, unless a stream was begun. */
  unfold(): void {
    // It is node's already.
  }

  /** flushHead sends a head that no piece followed at once. node's flushHeaders would encode it as UTF-8. */
  flushHead(): void {
    this.write('', 'latin1');
    this.uncork();
  }

  /** writePiece sends a piece of the body, of 1 byte or more; all of it is in use while the socket has something to send. */
  writePiece(chunk: Buffer): void {
    this.write(chunk);
    this.uncork();
  }

  /** endStream ends the body; trailers (flat, sound by RFC 9110 §5) go behind a chunked one only. */
  endStream(rawTrailers: string[]): void {
    if (rawTrailers.length > 0 && this.chunkedEncoding) this.addTrailers(pairsOf(rawTrailers));
    this.end();
  }
}

function pairsOf(flat: readonly string[]): [string, string][] {
  const list: [string, string][] = [];
  for (let i = 0; i < flat.length; i += 2) list.push([flat[i] ?? '', flat[i + 1] ?? '']);
  return list;
}
