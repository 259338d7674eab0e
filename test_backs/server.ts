/**
 * Shared by all test backends: listening, counting connections, closing, running as a script.
 */
import { once } from 'node:events';
import type { Server, Socket } from 'node:net';

export interface ListenOptions {
  /** Default: 0, any free port. */
  port?: number;
  /** Default: 127.0.0.1. */
  host?: string;
}

/** TestBackend is a running backend. The caller that started it closes it. */
export interface TestBackend {
  readonly port: number;
  /** http://host:port */
  readonly url: string;
  /** Connections open now. */
  readonly sockets: ReadonlySet<Socket>;
  /** Connections accepted since the start. */
  readonly connectionCount: number;
  /** close refuses new connections and destroys the open ones. It may be called twice. */
  close(): Promise<void>;
}

/** listen starts the server and tracks its sockets. It rejects when the port is in use. */
export async function listen(server: Server, options: ListenOptions = {}): Promise<TestBackend> {
  const { port: wantedPort = 0, host = '127.0.0.1' } = options;
  const sockets = new Set<Socket>();
  let connectionCount = 0;
  server.on('connection', (socket: Socket) => {
    connectionCount += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  server.listen(wantedPort, host);
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : wantedPort;
  return {
    port,
    url: `http://${host}:${port}`,
    sockets,
    get connectionCount() {
      return connectionCount;
    },
    async close() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** parseOptions reads `--name=value` and the older `-name=value`. It throws for other arguments. */
export function parseOptions(words: string[], known: readonly string[]): Record<string, string> {
  const options: Record<string, string> = {};
  for (const word of words) {
    const match = /^--?([a-z-]+)=(.*)$/.exec(word);
    const [, name = '', value = ''] = match ?? [];
    if (match === null || !known.includes(name)) {
      throw new Error(`unknown option ${word}; known: ${known.map((each) => `--${each}=…`).join(' ')}`);
    }
    options[name] = value;
  }
  return options;
}

/** portOption checks the value of `--port`; without one it is 0. */
export function portOption(text: string | undefined): number {
  const port = Number(text ?? '0');
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new Error(`not a port: ${text}`);
  return port;
}

/**
 * runAsScript starts a backend from the command line; a backend file calls it behind `import.meta.main`. It prints where the
 * backend listens and exits with 0 on SIGTERM or SIGINT, with 2 for a bad option, with 1 for a port in use (and a sentence).
 */
export async function runAsScript(
  known: readonly string[],
  start: (options: ListenOptions, all: Record<string, string>) => Promise<TestBackend>,
): Promise<void> {
  let backend: TestBackend;
  try {
    const all = parseOptions(process.argv.slice(2), ['port', 'host', ...known]);
    backend = await start({ port: portOption(all.port), host: all.host }, all);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = (error as NodeJS.ErrnoException).code === undefined ? 2 : 1;
    return;
  }
  process.stdout.write(`listening on ${backend.url}\n`);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      backend.close().then(
        () => process.exit(0),
        () => process.exit(1),
      );
    });
  }
}
