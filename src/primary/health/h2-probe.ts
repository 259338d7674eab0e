/** Probes over HTTP/2: the health service of gRPC (grpc.health.v1.Health), or a GET in a pool whose backends speak HTTP/2. */
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2';
import type { Socket } from 'node:net';
import { hostPort } from '../../contract/addresses.ts';
import { systemCodeOf } from '../../contract/errors.ts';
import { ExpectedText, fieldsOf, type ProbeOutcome, type ProbeTarget, verdictOf } from './probe-target.ts';

const CHECK_PATH = '/grpc.health.v1.Health/Check';
/** Not compressed, and four bytes of length. */
const PREFIX_BYTES = 5;
/** Of the answer to a gRPC probe. */
const MAX_MESSAGE_BYTES = 1_024;
/** RFC 9113 §7. */
const CANCEL = 0x8;
const SERVING = 1;
const STATUS_NAMES = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'];
/** Field 1, a number (protobuf). */
const STATUS_TAG = 0x08;
/** Field 1, a text. */
const SERVICE_TAG = 0x0a;

/** H2ProbeEvents is told once at least; later calls mean nothing. */
interface H2ProbeEvents {
  settle(outcome: ProbeOutcome): void;
  fail(error: Error): void;
}

/** probeH2 asks on an open connection; over TLS the backend has chosen HTTP/2. It closes the connection when it is answered. */
export function probeH2(socket: Socket, target: ProbeTarget, { settle, fail: onFail }: H2ProbeEvents): void {
  const fail = (error: Error): void => onFail(explain(error));
  const { connect } = process.getBuiltinModule('node:http2');
  const scheme = target.tls === null ? 'http' : 'https';
  const session = connect(`${scheme}://${hostPort(target.host, target.port)}`, {
    createConnection: () => socket,
  });
  session.on('error', fail);
  const end = (outcome: ProbeOutcome): void => {
    settle(outcome);
    session.close();
  };
  const stream =
    target.check.type === 'grpc' ? askHealth(session, target, end) : askStatus(session, target, end);
  stream.on('error', fail);
  // A stream that the backend cancels ends without an error.
  stream.on('close', () =>
    end({ ok: false, detail: `the backend ended the request (${codeName(stream.rstCode)})` }),
  );
}

function codeName(code: number | undefined): string {
  return code === CANCEL ? 'CANCEL' : `code ${code}`;
}

/** Says in words what node tells by a code of its own; other errors stay. */
function explain(error: Error): Error {
  const { message } = error;
  const name = /NGHTTP2_(\w+)/.exec(message)?.[1] ?? /code (\d+)/.exec(message)?.[0] ?? message;
  switch (systemCodeOf(error)) {
    case 'ERR_HTTP2_ERROR':
      return new Error(`what answers does not speak HTTP/2 (${message})`, { cause: error });
    case 'ERR_HTTP2_STREAM_ERROR':
      return new Error(`the backend refused the request (${name})`, { cause: error });
    case 'ERR_HTTP2_SESSION_ERROR':
      return new Error(`the backend closed the connection (${name})`, { cause: error });
    default:
      return error;
  }
}

type End = (outcome: ProbeOutcome) => void;

/** RFC 9113 §8.2. */
function lowerFieldsOf(check: ProbeTarget['check']): Record<string, string> {
  return Object.fromEntries(
    Object.entries(fieldsOf(check)).map(([name, value]) => [name.toLowerCase(), value]),
  );
}

function askStatus(session: ClientHttp2Session, { check, authority }: ProbeTarget, end: End) {
  const pseudo = { ':method': check.method, ':path': check.path, ':authority': authority };
  const stream = session.request({ ...lowerFieldsOf(check), ...pseudo });
  stream.on('response', ({ ':status': status = 0 }) => {
    const verdict = verdictOf(status, check);
    if (verdict.ok && check.expectBody !== null) expectText(stream, check.expectBody, verdict, end);
    else {
      end(verdict);
      stream.close();
    }
  });
  stream.end();
  return stream;
}

function expectText(stream: ClientHttp2Stream, text: string, verdict: ProbeOutcome, end: End): void {
  const expected = new ExpectedText(text, verdict);
  stream.on('data', (piece: Buffer) => {
    const outcome = expected.take(piece);
    if (outcome === null) return;
    end(outcome);
    stream.close();
  });
  onWholeBody(stream, () => end(expected.missing));
}

function askHealth(session: ClientHttp2Session, { check, authority }: ProbeTarget, end: End) {
  const pseudo = { ':method': 'POST', ':path': CHECK_PATH, ':authority': authority };
  const stream = session.request({
    ...lowerFieldsOf(check),
    ...pseudo,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  let body = Buffer.alloc(0);
  let fields: IncomingHttpHeaders = {};
  stream.on('response', (head) => {
    fields = head;
    if (head[':status'] !== 200) end({ ok: false, detail: `status ${head[':status']}` });
  });
  stream.on('trailers', (trailers) => {
    fields = { ...fields, ...trailers };
  });
  stream.on('data', (piece: Buffer) => {
    body = Buffer.concat([body, piece]);
    if (body.length > MAX_MESSAGE_BYTES) stream.close();
  });
  onWholeBody(stream, () => end(verdict(fields, body)));
  stream.end(checkMessage(check.service));
  return stream;
}

/** A stream that is cancelled ends too, without an error. */
function onWholeBody(stream: ClientHttp2Stream, act: () => void): void {
  stream.on('end', () => {
    if (stream.rstCode !== CANCEL) act();
  });
}

function checkMessage(service: string): Buffer {
  const content = service === '' ? [] : [SERVICE_TAG, service.length, ...Buffer.from(service)];
  return Buffer.from([0, 0, 0, 0, content.length, ...content]);
}

function verdict(fields: IncomingHttpHeaders, body: Buffer): ProbeOutcome {
  const grpcStatus = fields['grpc-status'];
  if (grpcStatus !== '0') return { ok: false, detail: `grpc-status ${grpcStatus ?? 'missing'}` };
  const status = servingStatus(body.subarray(PREFIX_BYTES));
  return { ok: status === SERVING, detail: STATUS_NAMES[status] ?? 'answer not understood' };
}

/** Absent, the field is 0. */
function servingStatus(message: Buffer): number {
  if (message.length === 0) return 0;
  return message.length === 2 && message[0] === STATUS_TAG ? message[1]! : -1;
}
