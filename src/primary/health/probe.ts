/** One probe of one backend over a connection of its own, which ends within the check's time limit whatever the backend does. */
import type { IncomingMessage } from 'node:http';
import { type LookupFunction, Socket } from 'node:net';
import { isOwnShortage, systemCodeOf, toError } from '../../contract/errors.ts';
import { backendNames } from '../../infra/backend-names.ts';
import { http } from '../../infra/node-http.ts';
import { TLS_PREFIX } from '../../infra/wire/backend-tls.ts';
import { dial } from '../../infra/wire/dial.ts';
import { probeH2 } from './h2-probe.ts';
import {
  ExpectedText,
  fieldsOf,
  MAX_BODY_BYTES,
  type ProbeOutcome,
  type ProbeTarget,
  verdictOf,
} from './probe-target.ts';

/** Probe never rejects; an aborted one reports `aborted`. */
export type Probe = (target: ProbeTarget, signal: AbortSignal) => Promise<ProbeOutcome>;

const MAX_HEADER_BYTES = 16 * 1024;
/** The time limit is counted in this many ticks; see startTimeLimit. */
const TICKS = 10;
/** The share of the time limit that the resolver may take before the last known address is used. */
const RESOLVER_SHARE = 1 / 3;

/** runProbe is the real Probe; for the health checker. */
export const runProbe: Probe = async (target, signal) => {
  const { host, check } = target;
  let resolverError: string | undefined;
  const lookup = backendNames.lookupWith({
    patienceMs: check.timeoutMs * RESOLVER_SHARE,
    onOutage: (error) => {
      resolverError = failure(error).detail;
    },
  });
  const outcome = await connectAndProbe(target, lookup, signal);
  if (!backendNames.knows(host)) {
    const { detail } = outcome;
    return { ok: false, detail: `name not resolved: ${detail}`, resolverError: detail, inconclusive: true };
  }
  if (resolverError === undefined) return outcome;
  const detail = `${outcome.detail}, at its last known address (${resolverError})`;
  return { ...outcome, detail, resolverError };
};

type Settle = (outcome: ProbeOutcome) => void;

function connectAndProbe(
  target: ProbeTarget,
  lookup: LookupFunction,
  signal: AbortSignal,
): Promise<ProbeOutcome> {
  // Only the first call of settle counts; a promise ignores the others.
  return new Promise((settle) => {
    const tcp = new Socket();
    const end = (detail: string) => {
      settle({ ok: false, detail });
      tcp.destroy();
    };
    const abort = () => end('aborted');
    const stopTimeLimit = startTimeLimit(target.check.timeoutMs, () => end('timeout'));
    signal.addEventListener('abort', abort, { once: true });
    tcp.on('error', (error) => settle(failure(error)));
    tcp.on('close', () => {
      stopTimeLimit();
      signal.removeEventListener('abort', abort);
      settle({ ok: false, detail: 'closed without an answer' });
    });
    if (signal.aborted) abort();
    else {
      dial(
        tcp,
        { ...target, lookup },
        {
          onOpen: (socket) => probeOn(socket, target, settle),
          onTlsError: (error) => settle(failure(error)),
        },
      );
    }
  });
}

/** @param socket a verified one, over TLS */
function probeOn(socket: Socket, target: ProbeTarget, settle: Settle): void {
  if (target.isH2) probeH2(socket, target, { settle, fail: (error) => settle(failure(error)) });
  else if (target.check.type === 'http') probeHttp(socket, target, settle);
  else {
    settle({ ok: true, detail: 'connected' });
    socket.destroy();
  }
}

function probeHttp(socket: Socket, { host, port, authority, check }: ProbeTarget, settle: Settle): void {
  try {
    const outgoing = http.request({
      host,
      port,
      method: check.method,
      path: check.path,
      createConnection: () => socket,
      maxHeaderSize: MAX_HEADER_BYTES,
      headers: { ...fieldsOf(check), Host: authority },
    });
    outgoing.on('error', (error) => settle(failure(error)));
    outgoing.on('response', (response: IncomingMessage) => {
      const verdict = verdictOf(response.statusCode ?? 0, check);
      if (verdict.ok && check.expectBody !== null) expectText(response, check.expectBody, verdict, settle);
      else settle(verdict);
      discard(response, () => outgoing.destroy());
    });
    outgoing.end();
  } catch (thrown) {
    // node:http throws at once for a path or host that it cannot send.
    settle(failure(thrown));
    socket.destroy();
  }
}

function expectText(response: IncomingMessage, text: string, verdict: ProbeOutcome, settle: Settle): void {
  const expected = new ExpectedText(text, verdict);
  response.on('data', (piece: Buffer) => {
    const outcome = expected.take(piece);
    if (outcome !== null) settle(outcome);
  });
  response.on('end', () => settle(expected.missing));
  response.on('error', (error) => settle(failure(error)));
}

/** Reads the body to its end, so that the backend sees a clean close; gives up after MAX_BODY_BYTES. */
function discard(response: IncomingMessage, cut: () => void): void {
  let seenBytes = 0;
  response.on('data', (chunk: Buffer) => {
    seenBytes += chunk.length;
    if (seenBytes > MAX_BODY_BYTES) cut();
  });
  // The status has been judged: how the body ends changes nothing.
  response.on('error', cut);
}

/**
 * Counts the time limit in ticks. A stall of this process (the embedded database keeps the event loop busy while it starts) then
 * costs the backend one tick and not its whole limit.
 */
function startTimeLimit(limitMs: number, onExpire: () => void): () => void {
  let ticks = 0;
  const timer = setInterval(() => {
    if (++ticks < TICKS) return;
    clearInterval(timer);
    // A late loop runs its timers before it reads its sockets, where the answer may already be: hence one more turn.
    setImmediate(onExpire);
  }, limitMs / TICKS);
  return () => clearInterval(timer);
}

function failure(thrown: unknown): ProbeOutcome {
  const { message } = toError(thrown);
  // A failure of TLS has words of its own.
  const detail = message.startsWith(TLS_PREFIX) ? message : (systemCodeOf(thrown) ?? message);
  // EADDRNOTAVAIL: this machine may have no address of that family, and never will.
  return isOwnShortage(thrown) && detail !== 'EADDRNOTAVAIL'
    ? { ok: false, detail, inconclusive: true }
    : { ok: false, detail };
}
