/** The settings of pools and their backends: a part of settings.ts, with the same promises. */

/** PemFile is a file of the configuration that the primary has read. */
export interface PemFile {
  path: string;
  /** Certificates or a private key. */
  pem: string;
}

/** PoolTlsSettings is how a pool connects to its backends with `https://`. */
export interface PoolTlsSettings {
  /** The authorities that may have signed a backend's certificate; null: those that Node.js trusts. */
  ca: PemFile | null;
  /** Sluice's own certificate and its key, for backends that ask for one; both or none. */
  cert: PemFile | null;
  key: PemFile | null;
  /** The name in SNI, which the certificate must be for; lower case; null: the host of the backend's URL. */
  serverName: string | null;
  /** false: any certificate will do. */
  verify: boolean;
}

export interface BackendSettings {
  /** Unique in its pool, host:port by default. A backend with the same id and address keeps its state over a reload. */
  id: string;
  host: string;
  port: number;
  /** `https://`: the pool's `tls` says how. */
  tls: boolean;
  /** Share of the traffic, relative to the other backends; 0: no new requests. */
  weight: number;
  /** It takes requests only while no other backend of the pool can. */
  backup: boolean;
}

/** isSameServer says whether two backends with one id are one server, which keeps its state over a reload. */
export function isSameServer(a: ServerAddress, b: ServerAddress): boolean {
  return a.host === b.host && a.port === b.port && a.tls === b.tls;
}

type ServerAddress = Pick<BackendSettings, 'host' | 'port' | 'tls'>;

export interface HealthCheckSettings {
  type: 'http' | 'tcp' | 'grpc';
  path: string;
  /** Value of Host (`:authority`); null: the address that is probed. */
  host: string | null;
  /** 0: that of the backend. */
  port: number;
  method: 'GET' | 'HEAD' | 'OPTIONS' | 'POST';
  /** Further fields by name; they may hold credentials. */
  headers: Record<string, string>;
  /** Text that the first 64 KiB of the answer must hold; null: none. */
  expectBody: string | null;
  /** Of a gRPC probe; '' asks for the server as a whole. */
  service: string;
  intervalMs: number;
  timeoutMs: number;
  rise: number;
  fall: number;
  expectStatus: { from: number; to: number };
}

export interface RetrySettings {
  /** Further attempts of a request after failures other than those of connections that nothing was sent on. */
  attempts: number;
  /** Of the pool's requests in progress: retries in flight at most; per machine. */
  budgetPercent: number;
  /** Retries in flight that are allowed however few requests are in progress; per machine. */
  minConcurrent: number;
  /** Whether a request may be sent twice whatever its method. */
  nonIdempotent: boolean;
  /** Statuses of a backend that count as failures. */
  onStatus: number[];
  /** For one attempt, as timeouts.responseMs; null: that one. */
  perTryMs: number | null;
}

/** OutlierSettings: when a backend that fails live traffic is ejected, and for how long. */
export interface OutlierSettings {
  consecutiveErrors: number;
  /** The first ejection; the nth takes n times as long. */
  baseEjectionMs: number;
  maxEjectionMs: number;
  /** Of the pool's backends. */
  maxEjectedPercent: number;
}

export interface PoolSettings {
  name: string;
  balance: 'round_robin' | 'least_requests';
  backends: BackendSettings[];
  /** null: all backends count as healthy. */
  healthCheck: HealthCheckSettings | null;
  /** null: no backend is ejected. */
  outlier: OutlierSettings | null;
  /** The pool panics while fewer of its backends are healthy; 0: never. */
  panicThresholdPercent: number;
  /** In which a backend that takes requests again rises to its weight; 0: at once. */
  slowStartMs: number;
  /** responseMs: from the first attempt to the head of the answer, all attempts included. */
  timeouts: { connectMs: number; responseMs: number; idleMs: number };
  retry: RetrySettings;
  /** Per machine. maxConcurrentPerBackend: requests at one backend at once. queue: requests that wait for a backend, queueTimeoutMs at most; 0: none. */
  limits: { maxConcurrentPerBackend: number; queue: number; queueTimeoutMs: number };
  /** latency: fewer requests at one backend than `limits` allows, as its latency says. */
  adaptive: 'off' | 'latency';
  /** null where no backend has TLS, and the file has no such block. */
  tls: PoolTlsSettings | null;
  protocol: 'http1' | 'h2';
  /** The version of the PROXY header with which each connection to a backend begins. */
  proxyProtocol: 'off' | 'v1' | 'v2';
}
