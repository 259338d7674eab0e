/**
 * One probe of one backend over a connection of its own. Names are resolved at each connect, nothing is kept alive, and
 * whatever the backend does the probe is over, and its socket gone, after the check's time limit.
 */
import { type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { systemCodeOf, toError } from '../../contract/errors.ts';
import type { HealthCheckSettings } from '../../contract/settings.ts';
import { sluiceVersion } from '../../infra/build-info.ts';

export interface ProbeTarget {
  host: string;
  port: number;
  check: HealthCheckSettings;
}

interface ProbeOutcome {
  ok: boolean;
  /** 'status 200', 'connected', 'timeout', 'ECONNREFUSED', … */
  detail: string;
}

/** Probe never rejects; an aborted one reports `aborted`. */
export type Probe = (target: ProbeTarget, signal: AbortSignal) => Promise<ProbeOutcome>;

/** A body beyond this is cut off: the status has been seen. */
const MAX_BODY_BYTES = 64 * 1024;
const MAX_HEADER_BYTES = 16 * 1024;

/** What both kinds of probe act on. */
interface Connection {
  destroy(): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'close', listener: () => void): unknown;
}

/** runProbe is the real Probe; for the health checker. */
export const runProbe: Probe = (target, signal) =>
  new Promise((resolve) => {
    // Only the first call counts; a promise ignores the others.
    const settle = (ok: boolean, detail: string) => resolve({ ok, detail });
    try {
      guard(target.check.type === 'http' ? probeHttp(target, settle) : probeTcp(target, settle), {
        settle,
        signal,
        timeoutMs: target.check.timeoutMs,
      });
    } catch (thrown) {
      // node:http throws at once for a path or host that it cannot send.
      settle(false, detailOf(thrown));
    }
  });

type Settle = (ok: boolean, detail: string) => void;

function probeTcp({ host, port }: ProbeTarget, settle: Settle): Connection {
  const socket = connect({ host, port });
  socket.on('connect', () => {
    settle(true, 'connected');
    socket.destroy();
  });
  return socket;
}

function probeHttp({ host, port, check }: ProbeTarget, settle: Settle): Connection {
  const outgoing = request({
    host,
    port,
    path: check.path,
    agent: false,
    maxHeaderSize: MAX_HEADER_BYTES,
    headers: {
      // RFC 9110 §7.2: the authority without the scheme's default port.
      Host: authorityOf(host, port),
      'User-Agent': `sluice-health/${sluiceVersion()}`,
      Accept: '*/*',
    },
  });
  outgoing.on('response', (response: IncomingMessage) => {
    const status = response.statusCode ?? 0;
    settle(status >= check.expectStatus.from && status <= check.expectStatus.to, `status ${status}`);
    discard(response, () => outgoing.destroy());
  });
  outgoing.end();
  return outgoing;
}

/** Reads a body to its end, so that the backend sees a clean close, or gives up after MAX_BODY_BYTES. */
function discard(response: IncomingMessage, cut: () => void): void {
  let seenBytes = 0;
  response.on('data', (chunk: Buffer) => {
    seenBytes += chunk.length;
    if (seenBytes > MAX_BODY_BYTES) cut();
  });
  // The verdict is out; how the rest of the body ends is of no interest.
  response.on('error', cut);
}

function guard(
  connection: Connection,
  { settle, signal, timeoutMs }: { settle: Settle; signal: AbortSignal; timeoutMs: number },
): void {
  const abort = () => {
    settle(false, 'aborted');
    connection.destroy();
  };
  const expire = () => {
    settle(false, 'timeout');
    connection.destroy();
  };
  // A late loop runs its timers before it looks at its sockets: the answer may be waiting there, so one more turn.
  const timer = setTimeout(() => setImmediate(expire), timeoutMs);
  signal.addEventListener('abort', abort, { once: true });
  connection.on('error', (error) => settle(false, detailOf(error)));
  connection.on('close', () => {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
    settle(false, 'closed without an answer');
  });
  if (signal.aborted) abort();
}

function authorityOf(host: string, port: number): string {
  const bracketed = host.includes(':') ? `[${host}]` : host;
  return port === 80 ? bracketed : `${bracketed}:${port}`;
}

function detailOf(thrown: unknown): string {
  return systemCodeOf(thrown) ?? toError(thrown).message;
}
