/** Loads a port of this machine with the generator that fits the work. */
import { runH2load } from './h2load.ts';
import { runHandshakes } from './handshakes.ts';
import type { LoadCounts, LoadFigures, Work } from './load.ts';
import { findProgram } from './tools.ts';
import { runWrk } from './wrk.ts';

/** runLoad lasts `durationSec`, or up to a second longer with handshakes. Only wrk measures latencies. */
export function runLoad(
  port: number,
  work: Work,
  durationSec: number,
): Promise<LoadCounts & Partial<LoadFigures>> {
  if (work.streams !== undefined) return runH2load(port, work, durationSec);
  return work.tls === true && work.reconnecting === true
    ? runHandshakes(port, work, durationSec)
    : runWrk(port, work, durationSec);
}

/** loadMissing says what the machine lacks for the work; '' for nothing. */
export function loadMissing({ streams, grpc = false, tls = false, reconnecting = false }: Work): string {
  const programs = [
    ...(streams === undefined ? [] : ['h2load']),
    ...(streams === undefined && !(tls && reconnecting) ? ['wrk'] : []),
    ...(tls || streams !== undefined ? ['openssl'] : []),
    // Only nginx as a backend answers gRPC calls.
    ...(grpc ? ['nginx'] : []),
  ];
  const missing = programs.find((program) => findProgram(program) === null);
  return missing === undefined ? '' : `${missing} is not installed`;
}

/** loadInWords describes the work for the report. */
export function loadInWords({
  method = 'GET',
  path,
  connections,
  reconnecting = false,
  tls = false,
  streams,
  grpc = false,
}: Work): string {
  if (streams !== undefined) {
    const call = grpc ? `gRPC ${path}` : `${method} ${path}`;
    return `h2load over TLS, 1 thread, ${connections} connections of ${streams} streams, ${call}`;
  }
  if (tls && reconnecting)
    return `${connections} × openssl s_time -new, a full handshake for each request (TLS 1.3, X25519, ECDSA P-256), ${method} ${path}`;
  const over = tls ? 'wrk over TLS 1.3' : 'wrk';
  const renewed = reconnecting ? ', a new one for each request' : '';
  return `${over}, 1 thread, ${connections} connections${renewed}, ${method} ${path}`;
}
