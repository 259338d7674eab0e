/** Refusals of the admin port: application/problem+json (RFC 9457); a 422 has an entry for each wrong field. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyReply } from 'fastify';
import * as z from 'zod';
import { type ErrorCode, LbError, systemCodeOf, toError } from '../../contract/errors.ts';
import { http } from '../../infra/node-http.ts';
import { sqlStateOf } from '../../infra/postgres/postgres-errors.ts';

export const PROBLEM_TYPE = 'application/problem+json';

/** Retry-After of a 503: Sluice notices in about this time that a database is back. */
const RETRY_AFTER_SEC = '1';
/** While the embedded database starts: it opens its files in one second, and creates them in three or more. */
const RETRY_STARTING_SEC = '2';

const fieldErrorSchema = z.strictObject({
  field: z.string().meta({ description: 'Path of the field, e.g. limits.gold.capacity' }),
  message: z.string(),
  line: z.int().nullable().optional().meta({ description: 'Line of the configuration file' }),
});
/** FieldError is a wrong field; `line` only in answers to a reload. */
export type FieldError = z.infer<typeof fieldErrorSchema>;

export const problemSchema = z
  .strictObject({
    type: z.literal('about:blank'),
    title: z.string(),
    status: z.int().min(400).max(599),
    detail: z.string(),
    requestId: z.string(),
    code: z.string().optional().meta({ description: 'For programs, where the status alone does not say it' }),
    errors: z.array(fieldErrorSchema).optional(),
  })
  .meta({ description: 'A problem (RFC 9457)' });

/** HttpProblem is thrown by the hooks and handlers of this folder to refuse a request; it never leaves the admin port. */
export class HttpProblem extends Error {
  readonly status: number;
  readonly code: string | undefined;
  readonly errors: FieldError[] | undefined;
  readonly headers: Record<string, string>;

  constructor(
    status: number,
    detail: string,
    {
      code,
      errors,
      headers = {},
    }: { code?: string; errors?: FieldError[]; headers?: Record<string, string> } = {},
  ) {
    super(detail);
    this.name = 'HttpProblem';
    this.status = status;
    this.code = code;
    this.errors = errors;
    this.headers = headers;
  }
}

/** invalidFields is the 422 of a request that is well formed but has wrong fields. */
export function invalidFields(errors: FieldError[]): HttpProblem {
  const texts = errors.map(({ field, message }) => (field === '' ? message : `${field}: ${message}`));
  return new HttpProblem(422, texts.join('; '), { errors });
}

/** Details for errors of other folders: their own messages may name hosts, and only the log may show those. */
const CODE_DETAILS: Partial<Record<ErrorCode, string>> = {
  client_exists: 'a client with this clientId exists already',
  client_changed: 'the client was changed or deleted since it was read; nothing was written',
  client_not_found: 'there is no client with this clientId',
  key_not_found: 'the client has no key with this keyId',
  too_many_keys: 'the client has 1,000 keys; revoke one first',
  secret_missing: 'there is no secret to sign API keys with (the log says why): set secrets.apiKeys',
  database_unavailable: 'the database cannot be reached',
  database_unanswered: 'the database gave no answer; the write may have taken effect',
  database_starting: 'the database is starting',
  folder_locked:
    'the folder of the embedded database (database.embeddedPath) cannot be used; the log says why',
  store_unavailable: 'the bucket store cannot be reached',
  store_timeout: 'the bucket store did not answer in time',
  bucket_unreadable: "the store holds something else under the key of one of the client's buckets",
  schema_mismatch: 'the schema of the database does not fit this version',
};

/** By the error code of the framework. */
const FRAMEWORK_PROBLEMS: Readonly<Record<string, [status: number, detail: string]>> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [415, 'a body must have Content-Type: application/json'],
  FST_ERR_CTP_BODY_TOO_LARGE: [413, 'the body is larger than 64 KiB'],
  FST_ERR_CTP_INVALID_JSON_BODY: [400, 'the body is not valid JSON'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: [400, 'the body is shorter than its Content-Length'],
  FST_ERR_BAD_URL: [400, 'the path has an invalid percent-encoding'],
  FST_ERR_MAX_PARAM_LENGTH: [414, 'a segment of the path is too long'],
};

/** toProblem makes the refusal for an error that was thrown while a request was served. */
export function toProblem(thrown: unknown): HttpProblem {
  if (thrown instanceof HttpProblem) return thrown;
  if (thrown instanceof LbError) return fromLbError(thrown);
  const known = FRAMEWORK_PROBLEMS[systemCodeOf(thrown) ?? ''];
  if (known !== undefined) return new HttpProblem(...known);
  const { statusCode: status = 500 } = toError(thrown) as { statusCode?: number };
  return status >= 400 && status < 500
    ? new HttpProblem(status, 'the request is malformed')
    : new HttpProblem(500, 'internal error');
}

/** Codes that a program may have to know. */
const SHOWN_CODES: ReadonlySet<ErrorCode> = new Set([
  'client_changed',
  'database_starting',
  'database_unanswered',
]);

function fromLbError(error: LbError): HttpProblem {
  const status = error.status >= 400 ? error.status : 500;
  // The table refused what the schema accepts, such as two patches at a time that together make half a limit.
  if (error.code === 'bad_request') {
    const errors = [{ field: '', message: error.message }];
    return new HttpProblem(status, error.message, status === 422 ? { errors } : {});
  }
  const { code } = error;
  const more = {
    ...(SHOWN_CODES.has(code) && { code }),
    ...(code === 'database_starting' && { headers: { 'retry-after': RETRY_STARTING_SEC } }),
  };
  // SQLSTATE disk_full.
  const detail =
    sqlStateOf(error) === '53100' ? 'the disk of the database is full' : CODE_DETAILS[error.code];
  return new HttpProblem(status, detail ?? titleOf(status), more);
}

/** sendProblem answers a request of the framework. */
export function sendProblem(reply: FastifyReply, problem: HttpProblem): FastifyReply {
  if (problem.status === 503) reply.header('retry-after', RETRY_AFTER_SEC);
  return reply
    .code(problem.status)
    .headers(problem.headers)
    .type(PROBLEM_TYPE)
    .serializer((body: unknown) => JSON.stringify(body))
    .send(problemBody(problem, reply.request.id));
}

function problemBody(problem: HttpProblem, requestId: string): z.infer<typeof problemSchema> {
  const { status, message: detail, code, errors } = problem;
  const type = 'about:blank' as const;
  return {
    ...{ type, title: titleOf(status), status, detail, requestId },
    ...(code !== undefined && { code }),
    ...(errors && { errors }),
  };
}

function titleOf(status: number): string {
  return http.STATUS_CODES[status] ?? 'Error';
}

const PARSER_PROBLEMS: Readonly<Record<string, HttpProblem>> = {
  HPE_HEADER_OVERFLOW: new HttpProblem(431, 'the header is larger than 16 KiB'),
  ERR_HTTP_REQUEST_TIMEOUT: new HttpProblem(408, 'the request did not arrive in time'),
};

/** refuseUnparsable is node:http's `clientError` listener. */
export function refuseUnparsable(error: Error, socket: Duplex): void {
  const code = systemCodeOf(error);
  if (code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const problem = PARSER_PROBLEMS[code ?? ''] ?? new HttpProblem(400, 'the request is malformed');
  socket.end(rawResponse(problem), () => socket.destroy());
}

/** refuseExpectation answers 417 to an expectation other than 100-continue (RFC 9110 §10.1.1). */
export function refuseExpectation(_request: IncomingMessage, response: ServerResponse): void {
  const { socket } = response;
  if (socket === null) return;
  response.detachSocket(socket);
  socket.end(rawResponse(new HttpProblem(417, 'only 100-continue can be expected')));
}

function rawResponse(problem: HttpProblem): string {
  const content = problemBody(problem, randomUUID());
  const body = JSON.stringify(content);
  return [
    `HTTP/1.1 ${content.status} ${content.title}`,
    `Content-Type: ${PROBLEM_TYPE}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    `X-Request-Id: ${content.requestId}`,
    'Connection: close',
    '',
    body,
  ].join('\r\n');
}
