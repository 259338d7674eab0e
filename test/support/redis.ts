/** A throw-away redis-server on a free port of 127.0.0.1, without persistence. */
import { createConnection } from 'node:net';
import { type Child, type ExitStatus, spawnChild } from './child.ts';
import { freePort } from './free-port.ts';
import { makeTempFolder, removeTempFolder } from './temp-folder.ts';
import { waitFor } from './wait.ts';

export interface RedisOptions {
  /** Further arguments of redis-server, for example ['--maxmemory', '3mb']. */
  args?: string[];
  /** Sets requirepass and becomes part of `url`. */
  password?: string;
  /** Default: redis-server. */
  program?: 'redis-server' | 'valkey-server';
  /** PEM files. With them it speaks TLS only, and `url` is rediss://localhost. */
  tls?: { cert: string; key: string };
}

export interface RedisServer {
  /** redis://[:password@]127.0.0.1:port */
  readonly url: string;
  readonly port: number;
  /** pid of the process that runs now; restart() changes it. */
  readonly pid: number;
  /** signal sends SIGSTOP, SIGCONT, SIGKILL, …; stop() continues a stopped process first. */
  signal(signal: NodeJS.Signals): void;
  /** stop ends it and waits for the exit. start() runs it again. */
  stop(): Promise<void>;
  /** start runs it again, empty, on the same port. */
  start(): Promise<void>;
  /** restart is stop() and start(). */
  restart(): Promise<void>;
}

/** startRedis starts a server; put `t.after(() => redis.stop())` on the next line. */
export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  for (let attempt = 1; ; attempt += 1) {
    const server = new ThrowAwayRedis(await freePort(), options);
    try {
      await server.start();
      return server;
    } catch (error) {
      await server.stop();
      if (attempt === 3) throw error;
    }
  }
}

class ThrowAwayRedis implements RedisServer {
  readonly port: number;
  readonly url: string;
  readonly #options: RedisOptions;
  #child: Child | null = null;
  #folder = '';

  constructor(port: number, options: RedisOptions) {
    this.port = port;
    this.#options = options;
    const credentials = options.password === undefined ? '' : `:${encodeURIComponent(options.password)}@`;
    this.url =
      options.tls === undefined
        ? `redis://${credentials}127.0.0.1:${port}`
        : `rediss://${credentials}localhost:${port}`;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.signal(signal);
  }

  async start(): Promise<void> {
    this.#folder = makeTempFolder('sluice-redis-');
    const fixed = [...this.#portArgs(), '--bind', '127.0.0.1', '--dir', this.#folder, '--save', ''];
    const password = this.#options.password === undefined ? [] : ['--requirepass', this.#options.password];
    const args = [...fixed, '--appendonly', 'no', ...password, ...(this.#options.args ?? [])];
    const child = spawnChild(this.#options.program ?? 'redis-server', args, { cwd: this.#folder });
    this.#child = child;
    await child.waitForLine('Ready to accept connections');
    if (this.#options.tls !== undefined) return;
    await waitFor(`redis on port ${this.port} to answer`, () => answersInline(this.port));
  }

  #portArgs(): string[] {
    const { tls } = this.#options;
    const port = String(this.port);
    if (tls === undefined) return ['--port', port];
    const files = ['--tls-cert-file', tls.cert, '--tls-key-file', tls.key, '--tls-auth-clients', 'no'];
    return ['--port', '0', '--tls-port', port, ...files];
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    this.#child = null;
    child.signal('SIGCONT');
    await endOf(child);
    removeTempFolder(this.#folder);
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }
}

function endOf(child: Child): Promise<ExitStatus> {
  return child.stop('SIGTERM', 5_000);
}

/** Any reply, "-NOAUTH" too, shows that the event loop runs. */
function answersInline(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: '127.0.0.1' }, () => socket.write('PING\r\n'));
    socket.on('data', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(false));
  });
}
