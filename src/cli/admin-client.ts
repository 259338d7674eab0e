/** Calls to the admin port of a running Sluice; every failure has a sentence for people. */
import type { IncomingMessage } from 'node:http';
import * as z from 'zod';
import type { FileProblem } from '../contract/config-file-view.ts';
import { LbError, systemCodeOf, toError } from '../contract/errors.ts';
import { printable } from '../contract/json-text.ts';
import { http } from '../infra/node-http.ts';

export interface AdminTarget {
  /** http:// or https://, without a path. */
  url: string;
  /** null: none is sent. */
  token: string | null;
}

export interface AdminCall {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** From `/api/v1/` on. */
  path: string;
  body?: unknown;
  /** How long to wait for the whole answer; default: ANSWER_MS. */
  timeoutMs?: number;
  /** Ends the wait before. */
  signal?: AbortSignal;
}

/** Longer than the deadline of the admin port's handlers. */
const ANSWER_MS = 20_000;
/** Far more than a page of a thousand clients. */
const MAX_ANSWER_LENGTH = 16 * 1024 * 1024;

const problemSchema = z.object({ detail: z.string().transform(printable), code: z.string().optional() });
const refusalSchema = z.object({
  errors: z.array(z.object({ field: z.string(), message: z.string(), line: z.number().nullish() })),
});

/**
 * callAdmin resolves with the JSON of a successful answer, or undefined where it has no body. Rejects with LbError
 * admin_refused, the status of the answer, and its body as the cause; or with an Error where no Sluice answered.
 */
export async function callAdmin(target: AdminTarget, call: AdminCall): Promise<unknown> {
  const { status, text } = await exchange(target, call);
  const json = parseOrNull(text);
  if (status < 200 || status >= 300)
    throw new LbError('admin_refused', sentenceOf(status, json, target), { status, cause: json });
  if (text === '') return undefined;
  if (json === null) throw new Error(`${target.url} did not answer with JSON: is it the admin port?`);
  return json;
}

/** problemsOf returns what a refused configuration has wrong, for `sluice reload`; null: it was refused for something else. */
export function problemsOf(error: unknown): FileProblem[] | null {
  if (!(error instanceof LbError) || error.code !== 'admin_refused') return null;
  const refusal = refusalSchema.safeParse(error.cause);
  if (!refusal.success) return null;
  return refusal.data.errors.map(({ field, message, line = null }) => ({
    path: field || null,
    message,
    line,
  }));
}

/** refusalOf is why a call was refused with this code of the problem, in one sentence; null: it was refused for something else. */
export function refusalOf(error: unknown, code: string): string | null {
  if (!(error instanceof LbError) || error.code !== 'admin_refused') return null;
  const problem = problemSchema.safeParse(error.cause);
  return problem.success && problem.data.code === code ? problem.data.detail : null;
}

function sentenceOf(status: number, json: unknown, { url, token }: AdminTarget): string {
  if (status === 401) {
    const fault = token === null ? 'wants a token' : 'refuses the token';
    const note = token === null ? '' : '; a change of admin.token needs a restart of the process';
    return `the admin port at ${url} ${fault}: see --token, SLUICE_ADMIN_TOKEN and admin.token${note}`;
  }
  const problem = problemSchema.safeParse(json);
  if (!problem.success) return `${url} answered ${status}, not like an admin port of Sluice`;
  return `${problem.data.detail} (${status})`;
}

async function exchange(target: AdminTarget, call: AdminCall): Promise<{ status: number; text: string }> {
  try {
    const { timeoutMs = ANSWER_MS, signal } = call;
    const inTime = AbortSignal.timeout(timeoutMs);
    const response = await send(
      target,
      call,
      signal === undefined ? inTime : AbortSignal.any([signal, inTime]),
    );
    return { status: response.statusCode ?? 0, text: await readText(response) };
  } catch (thrown) {
    throw unreachable(target, call, thrown);
  }
}

function unreachable({ url }: AdminTarget, call: AdminCall, thrown: unknown): Error {
  const cause = toError(thrown);
  return new Error(`the admin port at ${url} cannot be reached: ${reasonOf(cause, call)}`, { cause });
}

/** How long a stream may be silent: twice as long as Sluice ever is. */
const SILENCE_MS = 30_000;

/**
 * openStream resolves with an answer that has no end, for `sluice top`; `signal` ends it. A silent one breaks off. Rejects like
 * callAdmin.
 */
export async function openStream(
  target: AdminTarget,
  path: string,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const call: AdminCall = { method: 'GET', path, timeoutMs: SILENCE_MS };
  const response = await send(target, call, signal).catch((thrown: unknown) => {
    throw unreachable(target, call, thrown);
  });
  const { statusCode: status = 0 } = response;
  if (status === 200) return response;
  const json = parseOrNull(await readText(response));
  throw new LbError('admin_refused', sentenceOf(status, json, target), { status, cause: json });
}

function send(
  { url, token }: AdminTarget,
  { method, path, body, timeoutMs = ANSWER_MS }: AdminCall,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const bytes = Buffer.from(body === undefined ? '' : JSON.stringify(body));
  const headers = {
    accept: 'application/json',
    ...(token !== null && { authorization: `Bearer ${token}` }),
    ...(bytes.length > 0 && { 'content-type': 'application/json', 'content-length': bytes.length }),
  };
  const target = new URL(path, url);
  const { request } = target.protocol === 'https:' ? process.getBuiltinModule('node:https') : http;
  return new Promise((resolve, reject) => {
    const sent = request(target, { method, headers, signal, agent: false }, resolve);
    sent.on('error', reject);
    sent.setTimeout(timeoutMs, () => sent.destroy(new Error(`silent for ${timeoutMs / 1000} s`)));
    sent.end(bytes);
  });
}

async function readText(response: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) {
    text += chunk;
    if (text.length > MAX_ANSWER_LENGTH) throw new Error('the answer is too long');
  }
  return text;
}

function reasonOf(error: Error, { timeoutMs = ANSWER_MS }: AdminCall): string {
  const code = systemCodeOf(error);
  if (code === 'ABORT_ERR') return `no answer within ${timeoutMs / 1000} s`;
  if (code === 'ECONNREFUSED') return 'nothing listens there (ECONNREFUSED)';
  return error.message || (code ?? error.name);
}

function parseOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not JSON: the caller says so.
    return null;
  }
}
