/**
 * Every refusal of the admin port as application/problem+json (RFC 9457): type about:blank, title, status, detail,
 * requestId, and for 422 one entry per field at fault.
 */
import type { FastifyReply } from 'fastify';
import * as z from 'zod';
import { type ErrorCode, LbError, systemCodeOf } from '../../contract/errors.ts';
import { http } from '../../infra/node-http.ts';

export const PROBLEM_TYPE = 'application/problem+json';

/** Retry-After of a 503: about the time in which a database that is back is noticed. */
const RETRY_AFTER_SEC = 1;
/** While the embedded database starts: it opens its files in a second, and creates them in three or more. */
const RETRY_STARTING_SEC = 2;

export const problemSchema = z
  .strictObject({
    type: z.literal('about:blank'),
    title: z.string(),
    status: z.int().min(400).max(599),
    detail: z.string(),
    requestId: z.string(),
    errors: z
      .array(
        z.strictObject({
          field: z.string().meta({ description: 'Path of the field, e.g. limits.gold.capacity' }),
          message: z.string(),
          line: z.int().nullable().optional().meta({ description: 'Line of the configuration file' }),
        }),
      )
      .optional(),
  })
  .meta({ description: 'A problem (RFC 9457)' });

export interface FieldError {
  field: string;
  message: string;
  /** Of the configuration file; only in answers to a reload. */
  line?: number | null;
}

interface ProblemExtras {
  errors?: FieldError[];
  headers?: Record<string, string>;
}

/** HttpProblem is thrown by hooks and handlers of this folder to end a request; it never leaves the admin port. */
export class HttpProblem extends Error {
  readonly status: number;
  readonly errors: FieldError[] | undefined;
  readonly headers: Record<string, string>;

  constructor(status: number, detail: string, extras: ProblemExtras = {}) {
    super(detail);
    this.name = 'HttpProblem';
    this.status = status;
    this.errors = extras.errors;
    this.headers = extras.headers ?? {};
  }
}

/** invalidFields is the 422 of a request that is well formed and has fields that are wrong. */
export function invalidFields(errors: FieldError[]): HttpProblem {
  const detail = errors
    .map(({ field, message }) => (field === '' ? message : `${field}: ${message}`))
    .join('; ');
  return new HttpProblem(422, detail, { errors });
}

/** Details for errors from elsewhere, whose own messages may name hosts and belong in the log. */
const CODE_DETAILS: Partial<Record<ErrorCode, string>> = {
  client_exists: 'a client with this clientId exists already',
  client_not_found: 'there is no client with this clientId',
  key_not_found: 'the client has no key with this keyId',
  too_many_keys: 'the client has 1,000 keys; revoke one first',
  secret_missing:
    'there is no secret to sign API keys with: set secrets.apiKeys (none could be kept in ./data)',
  database_unavailable: 'the database cannot be reached',
  database_starting: 'the database is starting',
  store_unavailable: 'the bucket store cannot be reached',
  store_timeout: 'the bucket store did not answer in time',
  bucket_unreadable: "the key of one of the client's buckets holds something else",
  schema_mismatch: 'the schema of the database does not fit this version',
};

const FRAMEWORK_PROBLEMS: Readonly<Record<string, { status: number; detail: string }>> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: { status: 415, detail: 'a body must have Content-Type: application/json' },
  FST_ERR_CTP_BODY_TOO_LARGE: { status: 413, detail: 'the body is larger than 64 KiB' },
  FST_ERR_CTP_INVALID_JSON_BODY: { status: 400, detail: 'the body is not valid JSON' },
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: { status: 400, detail: 'the body is shorter than its Content-Length' },
  FST_ERR_BAD_URL: { status: 400, detail: 'the path has an invalid percent-encoding' },
  FST_ERR_MAX_PARAM_LENGTH: { status: 414, detail: 'a segment of the path is too long' },
};

/** toProblem turns whatever was thrown while a request was served into its answer. */
export function toProblem(thrown: unknown): HttpProblem {
  if (thrown instanceof HttpProblem) return thrown;
  if (thrown instanceof LbError) return fromLbError(thrown);
  const known = FRAMEWORK_PROBLEMS[systemCodeOf(thrown) ?? ''];
  if (known !== undefined) return new HttpProblem(known.status, known.detail);
  const status = statusOf(thrown);
  return status >= 400 && status < 500
    ? new HttpProblem(status, 'the request is malformed')
    : new HttpProblem(500, 'internal error');
}

function fromLbError(error: LbError): HttpProblem {
  const status = error.status >= 400 ? error.status : 500;
  // The table refused what passed the schema, e.g. two patches at a time that together make half a limit.
  if (error.code === 'bad_request') {
    const errors = [{ field: '', message: error.message }];
    return new HttpProblem(status, error.message, status === 422 ? { errors } : {});
  }
  const starting = error.code === 'database_starting';
  const headers: Record<string, string> = starting ? { 'retry-after': String(RETRY_STARTING_SEC) } : {};
  return new HttpProblem(status, CODE_DETAILS[error.code] ?? titleOf(status), { headers });
}

/** sendProblem answers a request of the framework; the request id is on the response already. */
export function sendProblem(reply: FastifyReply, problem: HttpProblem): FastifyReply {
  if (problem.status === 503) reply.header('retry-after', String(RETRY_AFTER_SEC));
  return reply
    .code(problem.status)
    .headers(problem.headers)
    .type(PROBLEM_TYPE)
    .serializer((body: unknown) => JSON.stringify(body))
    .send(bodyOf(problem, reply.request.id));
}

/**
 * rawProblem is a whole HTTP/1.1 response, for a connection whose bytes the parser refused before there was a request. It
 * announces the end of the connection.
 */
export function rawProblem(status: number, detail: string, requestId: string): string {
  const body = JSON.stringify(bodyOf(new HttpProblem(status, detail), requestId));
  return [
    `HTTP/1.1 ${status} ${titleOf(status)}`,
    `Content-Type: ${PROBLEM_TYPE}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    `X-Request-Id: ${requestId}`,
    'Connection: close',
    '',
    body,
  ].join('\r\n');
}

function bodyOf(problem: HttpProblem, requestId: string): z.infer<typeof problemSchema> {
  const { status, errors } = problem;
  return {
    type: 'about:blank',
    title: titleOf(status),
    status,
    detail: problem.message,
    requestId,
    ...(errors === undefined ? {} : { errors }),
  };
}

function titleOf(status: number): string {
  return http.STATUS_CODES[status] ?? 'Error';
}

function statusOf(thrown: unknown): number {
  const status =
    typeof thrown === 'object' && thrown !== null && 'statusCode' in thrown ? thrown.statusCode : 500;
  return typeof status === 'number' ? status : 500;
}
