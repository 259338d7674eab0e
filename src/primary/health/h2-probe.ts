/** Probes over HTTP/2: the health service of gRPC (grpc.health.v1.Health), or a GET in a pool whose backends speak HTTP/2. */
import type { ClientHttp2Session, IncomingHttpHeaders } from 'node:http2';
import type { Socket } from 'node:net';
import { hostPort } from '../../contract/addresses.ts';
import { systemCodeOf } from '../../contract/errors.ts';
import { sluiceVersion } from '../../infra/build-info.ts';
import type { ProbeOutcome, ProbeTarget } from './probe-target.ts';

const CHECK_PATH = '/grpc.health.v1.Health/Check';
/** Not compressed, and four bytes of length. */
const PREFIX_BYTES = 5;
const MAX_BODY_BYTES = 1_024;
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
  const authority = hostPort(target.host, target.port);
  const scheme = target.tls === null ? 'http' : 'https';
  const session = connect(`${scheme}://${authority}`, { createConnection: () => socket });
  session.on('error', fail);
  const end = (outcome: ProbeOutcome): void => {
    settle(outcome);
    session.close();
  };
  if (target.check.type === 'grpc') askHealth(session, target.check.service, end, fail);
  else askStatus(session, target.check, end, fail);
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

const USER_AGENT = { 'user-agent': `sluice-health/${sluiceVersion()}` };

function askStatus(
  session: ClientHttp2Session,
  { path, expectStatus }: ProbeTarget['check'],
  end: End,
  fail: (error: Error) => void,
): void {
  const stream = session.request({ ':path': path, accept: '*/*', ...USER_AGENT });
  stream.on('error', fail);
  stream.on('response', ({ ':status': status = 0 }) => {
    end({ ok: status >= expectStatus.from && status <= expectStatus.to, detail: `status ${status}` });
    stream.close();
  });
}

function askHealth(
  session: ClientHttp2Session,
  service: string,
  end: End,
  fail: (error: Error) => void,
): void {
  const method = { ':method': 'POST', ':path': CHECK_PATH };
  const stream = session.request({
    ...method,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...USER_AGENT,
  });
  stream.on('error', fail);
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
    if (body.length > MAX_BODY_BYTES) stream.close();
  });
  stream.on('end', () => end(verdict(fields, body)));
  stream.end(checkMessage(service));
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
