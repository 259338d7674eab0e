/** The interface to a balancer that the bench compares. */
import type { ServerProcess } from '../rig/process.ts';

export interface PeerOptions {
  /** Ports of the backends on 127.0.0.1; requests go to them in turn. */
  backendPorts: number[];
  /** Number of worker processes (or threads, where the peer has threads). */
  workers: number;
  /** true: one line of JSON per request goes to a file. */
  accessLog: boolean;
  /** Redis with one bucket per address of X-Forwarded-For; null: no limit. Only requests for REFUSED_PATH are refused. */
  redisPort: number | null;
  /** true: it listens with TLS 1.3 and HTTP/2 by ALPN, and with a certificate of its own. */
  tls: boolean;
  /** true: it speaks HTTP/2 to the backends, with prior knowledge, and passes gRPC on. */
  grpc: boolean;
}

/** On this path a limited Sluice admits one request a second and the bare server none. */
export const REFUSED_PATH = '/refused';

export interface Peer {
  readonly name: string;
  /** missing says what is not installed; '' if the peer can run. */
  missing(): string;
  version(): string;
  /** What it can do besides one worker without log and limit. */
  readonly can: { workers: boolean; accessLog: boolean; limiter: boolean };
  /** start runs it in `folder` and resolves once it serves `/tiny` through a backend. */
  start(folder: string, options: PeerOptions): Promise<ServerProcess>;
}
