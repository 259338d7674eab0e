/** What the bench knows of each balancer that it compares. */
import type { ServerProcess } from '../rig/process.ts';

export interface PeerOptions {
  /** On 127.0.0.1; requests go to them in turn. */
  backendPorts: number[];
  /** Worker processes (threads where the peer has those). */
  workers: number;
  /** One line of JSON per request, into a file. */
  accessLog: boolean;
  /** Where buckets live, one per address of X-Forwarded-For; null: no limit. None is refused, but at REFUSED_PATH. */
  redisPort: number | null;
}

/** Sluice under a limit lets one request a second through here, the bare server none. */
export const REFUSED_PATH = '/refused';

export interface Peer {
  readonly name: string;
  /** missing says in a few words what is not installed; '' when it can run. */
  missing(): string;
  version(): string;
  /** Which variants it has beyond one worker without log and limit. */
  readonly can: { workers: boolean; accessLog: boolean; limiter: boolean };
  /** start runs it in `folder` and returns once it serves `/tiny` through a backend. */
  start(folder: string, options: PeerOptions): Promise<ServerProcess>;
}
