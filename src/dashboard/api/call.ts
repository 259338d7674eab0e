/** One call of the admin port: token, deadline, and the problem of a refusal in words. */
import { readToken } from './token.ts';

const DEADLINE_MS = 20_000;

interface ProblemBody {
  detail?: string;
  code?: string;
  errors?: { field: string; message: string; line?: number | null }[];
}

/** CallError is a call that failed; `status` 0: no answer came. */
export class CallError extends Error {
  readonly status: number;
  /** Of the problem, where the status alone does not say it. */
  readonly code: string | null;
  readonly errors: NonNullable<ProblemBody['errors']>;
  /** Seconds after which another try makes sense; null: the answer names none. */
  readonly retryAfterSec: number | null;

  constructor(
    status: number,
    message: string,
    { code, errors = [] }: ProblemBody = {},
    retryAfter?: string | null,
  ) {
    super(message);
    this.name = 'CallError';
    this.status = status;
    this.code = code ?? null;
    this.errors = errors;
    this.retryAfterSec = retryAfter ? Number(retryAfter) : null;
  }
}

/** isChanged: a call with ifMatch was refused, as somebody has changed the client meanwhile. */
export function isChanged(thrown: unknown): boolean {
  return thrown instanceof CallError && thrown.code === 'client_changed';
}

/** The version of what was answered, where it has one. */
const versions = new WeakMap<object, string>();

/** ifMatch is the headers of a write that is to take effect only if its object still is as in this answer. */
export function ifMatch(answer: object | null): Record<string, string> {
  const version = answer && versions.get(answer);
  return version ? { 'if-match': `"${version}"` } : {};
}

/** Called for an answer 401; session.ts sets it. */
let onUnauthorized = (): void => undefined;
export function whenUnauthorized(listener: () => void): void {
  onUnauthorized = listener;
}

interface CallOptions {
  method?: string;
  body?: unknown;
  /** Besides the token. */
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** Default: 20 s. */
  deadlineMs?: number;
}

/** call resolves with the body, null for an answer without one, and rejects with CallError. @param path with its query */
export async function call<T>(path: string, options: CallOptions = {}): Promise<T> {
  const { signal, deadlineMs = DEADLINE_MS } = options;
  const deadline = AbortSignal.timeout(deadlineMs);
  const response = await send(path, {
    ...options,
    signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
  });
  const text = await response.text();
  const answer = text === '' ? null : JSON.parse(text);
  // A proxy that compresses makes `W/"1"` or `"1-gzip"` of `"1"`, which would match nothing.
  const [version] = /\d+/.exec(response.headers.get('etag') ?? '') ?? [];
  if (version !== undefined) versions.set(answer, version);
  return answer as T;
}

/** send resolves with the head of a good answer, and rejects with CallError otherwise. */
export async function send(path: string, options: CallOptions): Promise<Response> {
  const { method = 'GET', body, signal } = options;
  const token = readToken();
  const headers: Record<string, string> = {
    accept: 'application/json, text/event-stream',
    ...options.headers,
  };
  if (token !== null) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers['content-type'] = 'application/json';
  const init = {
    method,
    headers,
    body: body === undefined ? null : JSON.stringify(body),
    signal: signal ?? null,
  };
  const response = await fetch(path, { ...init, cache: 'no-store', credentials: 'omit' }).catch(
    (cause: Error) => {
      const late = cause.name === 'TimeoutError';
      throw new CallError(0, late ? 'Sluice did not answer in time.' : 'Sluice cannot be reached.');
    },
  );
  if (response.ok) return response;
  const problem = await problemOf(response);
  if (response.status === 401) onUnauthorized();
  throw new CallError(
    response.status,
    sentenceOf(response.status, problem),
    problem,
    response.headers.get('retry-after'),
  );
}

async function problemOf(response: Response): Promise<ProblemBody> {
  const isProblem = response.headers.get('content-type')?.includes('json') ?? false;
  if (!isProblem) return {};
  return (await response.json().catch(() => ({}))) as ProblemBody;
}

function sentenceOf(status: number, { detail }: ProblemBody): string {
  if (detail === undefined) return `Sluice answered ${status}.`;
  return `${detail.charAt(0).toUpperCase()}${detail.slice(1)}${/[.!?]$/.test(detail) ? '' : '.'}`;
}

/** messageOf is what to show of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
