import type { PoolSettings } from '../contract/pool-settings.ts';
import type { DeadlineTimer } from '../infra/deadline-timer.ts';
import type { BackendTls } from '../infra/wire/backend-tls.ts';
import type { WireMaker } from '../infra/wire/wire-maker.ts';
import type { ExchangeSettings } from './exchange.ts';

export const DEFAULT_PARK_MS = 60_000;

/** What all connections to a backend have in common, with HTTP/1.1 and HTTP/2. */
export interface ConnectionSettings extends ExchangeSettings {
  /** Name or address; a name is resolved at each connect. */
  host: string;
  port: number;
  /** Absent: without TLS. */
  tls?: BackendTls | undefined;
  /** A connection tells whose it is, and serves one request. Absent: off. */
  proxyProtocol?: PoolSettings['proxyProtocol'];
  /** From the first SYN to an open connection; over TLS to the end of the handshake. */
  connectMs: number;
  /** From the last byte of the request to the end of the final response head. */
  responseMs: number;
  /** Longest silence in a response body, and longest time in which the backend reads nothing of the request. */
  idleMs: number;
  /** Longest time parked, 60 s by default; `Keep-Alive: timeout=` of the backend may shorten it. */
  parkMs?: number;
  /** Parked connections of a pool at most, 512 by default. */
  maxParked?: number;
  timer: DeadlineTimer;
  wires: WireMaker;
  /** Called before each new connection: room for its descriptor may have to be made. */
  onOpening?: () => void;
  /** Is told how long each new connection took to open. */
  onConnected?: (connectMs: number) => void;
  /** Is told of each connection that could not be opened, unless this machine was the cause. */
  onConnectFailed?: (detail: string) => void;
}
