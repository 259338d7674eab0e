/** The head of an answer to a client: how the answer ends, and what the client is told of it (RFC 9112 §6, §9.3, §9.6). */
import type { ResponseStart } from '../contract/downstream.ts';
import type { RequestHead } from '../contract/request-head.ts';

/** FramedAnswer is a head whose framing is decided. */
export interface FramedAnswer {
  status: number;
  reason: string;
  /** Lines `name: value`, each with CRLF; Connection and Content-Length are among them, Transfer-Encoding is not. */
  lines: string;
  /** The body follows in chunks. */
  chunked: boolean;
  /** The connection ends after the answer, and `lines` say so. */
  closing: boolean;
  /** The body ends with the connection: HTTP/1.0 and a length that is not known. */
  closeDelimited: boolean;
}

/** frameAnswer decides, for both engines, how an answer ends. @param mustClose whether the connection must end after it */
export function frameAnswer(answer: ResponseStart, request: RequestHead, mustClose: boolean): FramedAnswer {
  const { status, reason, hasBody, contentLength } = answer;
  const isHttp11 = request.httpVersion === 11;
  const closeDelimited = hasBody && contentLength < 0 && !isHttp11;
  const closing = answer.closing || closeDelimited || mustClose;
  let { lines } = answer;
  if (closing) lines += 'Connection: close\r\n';
  else if (!isHttp11) lines += 'Connection: keep-alive\r\n';
  if (contentLength >= 0) lines += `Content-Length: ${contentLength}\r\n`;
  else if (!hasBody && mayHaveBody(request.method, status)) lines += 'Content-Length: 0\r\n';
  const chunked = hasBody && contentLength < 0 && isHttp11;
  return { status, reason, lines, chunked, closing, closeDelimited };
}

/** headText is the whole head as latin1. */
export function headText({ status, reason, lines, chunked }: FramedAnswer): string {
  const coding = chunked ? 'Transfer-Encoding: chunked\r\n' : '';
  return `HTTP/1.1 ${status} ${reason}\r\n${lines}${coding}\r\n`;
}

/** mayHaveBody tells whether an answer can have a body (RFC 9110 §6.4.1). */
export function mayHaveBody(method: string, status: number): boolean {
  return method !== 'HEAD' && status !== 204 && status !== 304;
}
