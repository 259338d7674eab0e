/**
 * How the head of an answer gets into node's ServerResponse. The public way is writeHead, which validates every field
 * by regular expressions once more and decides framing that has been decided already: a tenth of the CPU of a small
 * answer (figures: docs/architecture.md). The short way puts the finished text where writeHead would: into a private
 * field. It is taken only where probeShortHeads has seen, at the start of the process, that both leave a response in
 * the same state.
 */
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { fieldsOf } from '../http1/field-lines.ts';

/** AnswerHead is a head whose framing is decided: Connection and Content-Length are among the fields where they belong. */
export interface AnswerHead {
  /** 200–599. */
  status: number;
  reason: string;
  /** Lines `name: value`, each with CRLF; sound by RFC 9110 §5. */
  lines: string;
  /** The body follows in chunks; node writes their framing. */
  chunked: boolean;
  /** The connection ends after the answer, and a field says so unless the body ends with it. */
  closing: boolean;
}

/** HeadWriter hands a head to a response; it leaves with the first piece of body. */
export type HeadWriter = (response: FramedResponse, head: AnswerHead) => void;

/** FramedResponse is node's, with what the short way needs of its inside. */
export class FramedResponse<
  Request extends IncomingMessage = IncomingMessage,
> extends ServerResponse<Request> {
  declare _header: string | null;
  declare _hasBody: boolean;
  declare _last: boolean;
}

/** writeHeadPublicly uses documented API only. Throws what node finds wrong with a field. */
export function writeHeadPublicly(response: FramedResponse, head: AnswerHead): void {
  response.sendDate = false;
  // node would take `TE: chunked` of an HTTP/1.0 client for a wish, and add `Connection: keep-alive` on its own.
  if (!head.chunked) response.removeHeader('transfer-encoding');
  response.removeHeader('connection');
  response.shouldKeepAlive = !head.closing;
  response.writeHead(head.status, head.reason, fieldsOf(head.lines));
}

/** writeHeadShortly needs probeShortHeads to have returned true. */
export function writeHeadShortly(response: FramedResponse, head: AnswerHead): void {
  const { status, chunked } = head;
  response.statusCode = status;
  if (status === 204 || status === 304) response._hasBody = false;
  response.chunkedEncoding = chunked;
  response._last = head.closing;
  response._header = headText(head);
}

/** headText is the whole head as latin1. */
export function headText({ status, reason, lines, chunked }: AnswerHead): string {
  const coding = chunked ? 'Transfer-Encoding: chunked\r\n' : '';
  return `HTTP/1.1 ${status} ${reason}\r\n${lines}${coding}\r\n`;
}

const VIA = 'Via: 1.1 a\r\n';
const PROBED_BODY = 'body';
const PROBES: readonly { method: string; head: AnswerHead }[] = [
  probeOf('GET', 200, `${VIA}Set-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 4\r\n`),
  probeOf('GET', 404, 'Content-Length: 4\r\nConnection: close\r\n', { closing: true }),
  probeOf('GET', 200, VIA, { chunked: true }),
  probeOf('GET', 204, VIA),
  probeOf('GET', 304, 'Content-Length: 9\r\n'),
  probeOf('HEAD', 200, 'Content-Length: 9\r\n'),
  probeOf('HEAD', 200, VIA),
];

function probeOf(method: string, status: number, lines: string, more: Partial<AnswerHead> = {}) {
  return { method, head: { status, reason: 'Fine', lines, chunked: false, closing: false, ...more } };
}

/**
 * probeShortHeads tells whether the short way does on this Node.js what the public way does: same bytes in the same
 * writes, same decision about the connection. The worker's main asks once, before it serves (some milliseconds).
 */
export function probeShortHeads(): boolean {
  try {
    return PROBES.every(
      ({ method, head }) => trial(method, head, writeHeadShortly) === trial(method, head, writeHeadPublicly),
    );
  } catch {
    // A Node.js whose inside is so different that the trial itself fails: the public way it is.
    return false;
  }
}

/** What one answer does to a socket, as text to compare. */
function trial(method: string, head: AnswerHead, write: HeadWriter): string {
  const writes: string[] = [];
  const socket = new Socket();
  socket._write = (chunk: Buffer, _encoding, done) => {
    writes.push(chunk.toString('latin1'));
    done();
  };
  const request = new IncomingMessage(socket);
  Object.assign(request, { method, httpVersionMajor: 1, httpVersionMinor: 1 });
  const response = new FramedResponse(request);
  response.assignSocket(socket);
  response.shouldKeepAlive = true;
  write(response, head);
  response.end(PROBED_BODY, 'latin1');
  const { headersSent, writableEnded, statusCode, _last, _hasBody, chunkedEncoding } = response;
  response.detachSocket(socket);
  socket.destroy();
  return JSON.stringify({ writes, headersSent, writableEnded, statusCode, _last, _hasBody, chunkedEncoding });
}
