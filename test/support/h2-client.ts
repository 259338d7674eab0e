/** node's own HTTP/2 client, for tests. */
import {
  type ClientHttp2Session,
  type ClientSessionOptions,
  connect,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type SecureClientSessionOptions,
} from 'node:http2';
import type { TestContext } from 'node:test';
import { within } from './wait.ts';

export interface H2Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
  trailers: IncomingHttpHeaders;
  interims: IncomingHttpHeaders[];
  /** The code of the RST_STREAM that ended the stream; 0: it ended by itself, or by NO_ERROR. */
  rstCode: number;
}

/** connectH2 opens a session and closes it after the test. */
export function connectH2(
  t: TestContext,
  url: string,
  options: ClientSessionOptions | SecureClientSessionOptions = {},
): ClientHttp2Session {
  const session = connect(url, options);
  session.on('error', () => undefined);
  t.after(() => session.destroy());
  return session;
}

/** requestH2 sends a request and waits for its end, whatever that is. */
export async function requestH2(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  body: string | Buffer | null = null,
): Promise<H2Answer> {
  const stream = session.request(headers, { endStream: body === null });
  const answer: H2Answer = { status: 0, headers: {}, body: '', trailers: {}, interims: [], rstCode: 0 };
  const done = Promise.withResolvers<void>();
  stream.on('headers', (fields) => answer.interims.push(fields));
  stream.on('response', (fields) => {
    answer.headers = fields;
    answer.status = Number(fields[':status']);
  });
  stream.on('trailers', (fields) => {
    answer.trailers = fields;
  });
  stream.on('data', (chunk: Buffer) => {
    answer.body += chunk.toString('latin1');
  });
  stream.on('error', () => undefined);
  stream.on('close', () => done.resolve());
  if (body !== null) stream.end(body);
  await within(done.promise, 10_000, `the end of ${headers[':path']}`);
  answer.rstCode = stream.rstCode ?? 0;
  return answer;
}
