/**
 * Makes the head of a request from the fields of an HTTP/2 stream. It marks as malformed what the reader of HTTP/1.1 would refuse, and
 * proxy/admission.ts answers that with 400: such a target or field must not reach a backend in HTTP/1.1 words.
 *
 * A client repeats most of its fields in every request. Those of the last head of a connection are kept with what came of them, and
 * compared: that costs a tenth of reading them again.
 */
import { randomBytes } from 'node:crypto';
import { CHUNKED_BODY, NO_BODY, RequestHead } from '../../../contract/request-head.ts';
import { withoutFields } from '../../../http1/field-lines.ts';
import { BAD_VALUE, COLON, lengthOfText } from '../../../http1/head-bytes.ts';
import * as names from '../../../http1/header-names.ts';
import { flattenTexts, takeRequestField } from '../../../http1/request-fields.ts';
import { KNOWN_METHODS } from '../../../http1/request-head-reader.ts';

/** The colon, the space and the line end that a field has in HTTP/1.1. */
const LINE_EXTRA_BYTES = 4;
/** Heads with more are not kept, so that idle connections stay small. */
const KEPT_MAX_BYTES = 4_096;
/** Fields of the handshake that HTTP/2 does without. */
const KEY_NAMES: ReadonlySet<string> = new Set(['sec-websocket-key', 'sec-websocket-accept']);
const SLASH = 47;

/** StreamHeads is owned by a connection. */
export class StreamHeads {
  /** The regular fields of the kept head, names and values in turn; empty: none is kept. */
  #keptFields: readonly string[] = [];
  #kept = new RequestHead();

  /**
   * read makes the head.
   * @param fields names and values in turn, as they came
   * @param hasEnded whether the stream has no body
   */
  read(fields: readonly string[], hasEnded: boolean): RequestHead {
    const from = pseudoEnd(fields);
    const head = this.#regular(fields, from);
    if (hasEnded && head.bodyLength === CHUNKED_BODY) head.bodyLength = NO_BODY;
    takePseudo(head, fields, from);
    if (head.upgrade !== '') takeExtendedConnect(head, hasEnded);
    return head;
  }

  /** The facts of the fields from index `from` on. */
  #regular(fields: readonly string[], from: number): RequestHead {
    if (!this.#isKept(fields, from)) {
      const head = readRegular(fields, from);
      const keeps = head.headerBytes <= KEPT_MAX_BYTES;
      this.#keptFields = keeps ? fields.slice(from) : [];
      this.#kept = keeps ? head : new RequestHead();
      if (!keeps) return head;
    }
    return copyOf(this.#kept);
  }

  #isKept(fields: readonly string[], from: number): boolean {
    const kept = this.#keptFields;
    if (kept.length === 0 || kept.length !== fields.length - from) return false;
    for (let i = 0; i < kept.length; i++) if (kept[i] !== fields[from + i]) return false;
    return true;
  }
}

/** The index of the first regular field: pseudo-header fields come first (RFC 9113 §8.3), which the session has checked. */
function pseudoEnd(fields: readonly string[]): number {
  let at = 0;
  while (at < fields.length && fields[at]!.charCodeAt(0) === COLON) at += 2;
  return at;
}

function readRegular(fields: readonly string[], from: number): RequestHead {
  const head = new RequestHead();
  head.httpVersion = 20;
  head.bodyLength = CHUNKED_BODY;
  let cookies = '';
  for (let i = from; i < fields.length; i += 2) {
    const name = fields[i]!;
    const value = fields[i + 1]!;
    if (BAD_VALUE.test(value)) head.isMalformed = true;
    // A cookie may come in several fields (RFC 9113 §8.2.3); in HTTP/1.1 it is one, and counts as one.
    if (name === 'cookie') {
      head.headerBytes += cookies === '' ? 'cookie'.length + LINE_EXTRA_BYTES : '; '.length;
      head.headerBytes += value.length;
      // An empty one at the end would leave a blank there, which no field of HTTP/2 may have.
      if (value !== '') cookies += cookies === '' ? value : `; ${value}`;
      continue;
    }
    if (name === 'user-agent') head.userAgent = value;
    head.lineCount += 1;
    head.headerBytes += name.length + value.length + LINE_EXTRA_BYTES;
    takeField(head, name, value);
  }
  if (cookies !== '') {
    head.lineCount += 1;
    head.lines += `cookie: ${cookies}\r\n`;
  }
  flattenTexts(head);
  return head;
}

function takeField(head: RequestHead, name: string, value: string): void {
  const kind = names.classOf(name);
  if (kind === names.CONTENT_LENGTH) {
    const length = lengthOfText(value);
    if (head.bodyLength !== CHUNKED_BODY || length < 0) head.hasBadFraming = true;
    head.bodyLength = length;
    // The session has refused these; a request that still has one is not one to pass on.
  } else if (kind === names.INVALID || names.isOfConnection(kind)) head.isMalformed = true;
  else if (takeRequestField(head, kind, name, value)) head.lines += `${name}: ${value}\r\n`;
}

function takePseudo(head: RequestHead, fields: readonly string[], to: number): void {
  for (let i = 0; i < to; i += 2) {
    const value = fields[i + 1]!;
    switch (fields[i]) {
      case ':method':
        head.method = value;
        if (!KNOWN_METHODS.has(value)) head.isMalformed = true;
        break;
      case ':path':
        head.target = value;
        if (value.charCodeAt(0) !== SLASH && value !== '*') head.isMalformed = true;
        break;
      case ':authority':
        takeAuthority(head, value);
        break;
      case ':protocol':
        head.upgrade = value;
        break;
      // The client cannot know through which scheme it came, so nobody reads `:scheme`.
    }
  }
}

/**
 * RFC 8441: what HTTP/1.1 asks for by GET with Upgrade. What follows in the stream is the other protocol's, and no body. The key
 * of a WebSocket is made here, because the backend wants one.
 */
function takeExtendedConnect(head: RequestHead, hasEnded: boolean): void {
  if (head.method !== 'CONNECT' || hasEnded) head.isMalformed = true;
  head.method = 'GET';
  if (head.bodyLength === CHUNKED_BODY) head.bodyLength = NO_BODY;
  head.lines = withoutFields(head.lines, KEY_NAMES);
  head.lines += `sec-websocket-key: ${randomBytes(16).toString('base64')}\r\n`;
}

/** RFC 9113 §8.3.1: `:authority` stands for Host, and may not differ from it. */
function takeAuthority(head: RequestHead, authority: string): void {
  if (head.hostCount === 0) {
    head.lineCount += 1;
    head.headerBytes += 'host'.length + authority.length + LINE_EXTRA_BYTES;
    head.hostCount = 1;
  } else if (head.host.toLowerCase() !== authority.toLowerCase()) head.isMalformed = true;
  head.host = authority;
}

function copyOf(kept: RequestHead): RequestHead {
  const head = new RequestHead();
  head.httpVersion = kept.httpVersion;
  head.lineCount = kept.lineCount;
  head.headerBytes = kept.headerBytes;
  head.lines = kept.lines;
  head.host = kept.host;
  head.hostCount = kept.hostCount;
  head.bodyLength = kept.bodyLength;
  head.hasBadFraming = kept.hasBadFraming;
  head.isMalformed = kept.isMalformed;
  head.expectsContinue = kept.expectsContinue;
  head.hasUnknownExpectation = kept.hasUnknownExpectation;
  head.wantsTrailers = kept.wantsTrailers;
  head.forwardedFor = kept.forwardedFor;
  head.forwardedProto = kept.forwardedProto;
  head.forwardedHost = kept.forwardedHost;
  head.forwardedLines = kept.forwardedLines;
  head.requestId = kept.requestId;
  head.traceparent = kept.traceparent;
  head.traceparentCount = kept.traceparentCount;
  head.tracestateLines = kept.tracestateLines;
  head.userAgent = kept.userAgent;
  return head;
}
