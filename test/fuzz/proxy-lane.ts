/** A proxy with its own backend, so that everything the backend gets belongs to the current case. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { startProxy, type TestProxy } from '../proxy/support.ts';
import { takeRequest } from './canonical.ts';
import type { Seen } from './compare-requests.ts';
import { turn } from './memory-socket.ts';

const DEADLINE_MS = 8_000;
/** Turns of the event loop to wait for an unexpected answer after the last expected one. */
const PATIENCE_TURNS = 12;

export interface Exchange extends Seen {
  /** Bytes that the client received, latin1. */
  received: string;
  /** The proxy closed the connection. */
  closed: boolean;
  /** By a RST. */
  reset: boolean;
  /** Not empty: the exchange did not end. */
  stuck: string;
}

/** The backend's bytes for the n-th request of a case, and whether it then closes the connection. */
export type Answer = (index: number) => { bytes: Buffer[]; end: boolean };

export class ProxyLane {
  readonly #proxy: TestProxy;
  readonly #backend: Backend;

  private constructor(proxy: TestProxy, backend: Backend) {
    this.#proxy = proxy;
    this.#backend = backend;
  }

  static async start(t: TestContext): Promise<ProxyLane> {
    const backend = new Backend();
    const port = await backend.listen();
    t.after(() => backend.close());
    const proxy = await startProxy(t, { backends: [{ port }], access: { enabled: false, sample: 1 } });
    return new ProxyLane(proxy, backend);
  }

  /**
   * exchange sends the segments on a new connection and waits until the proxy closes it or, if it need not, until `owed`
   * answers have arrived.
   */
  async exchange(
    segments: readonly Buffer[],
    options: { owed: (received: string) => boolean; answer: Answer },
  ): Promise<Exchange> {
    const backend = this.#backend;
    backend.begin(options.answer);
    const client = connect({ port: this.#proxy.port, host: '127.0.0.1', noDelay: true });
    const parts: string[] = [];
    let closed = false;
    let reset = false;
    client.on('error', (error) => {
      reset = 'code' in error && error.code === 'ECONNRESET';
      client.destroy();
    });
    client.on('data', (chunk: Buffer) => parts.push(chunk.toString('latin1')));
    client.on('end', () => {
      closed = true;
    });
    client.on('close', () => {
      closed = true;
    });
    for (const segment of segments) {
      if (!client.destroyed) client.write(segment);
      await turn();
    }
    const endMs = performance.now() + DEADLINE_MS;
    for (let patience = PATIENCE_TURNS; !closed && patience > 0 && performance.now() < endMs; ) {
      await turn();
      if (!client.connecting && client.writableLength === 0 && options.owed(parts.join(''))) patience--;
      else patience = PATIENCE_TURNS;
    }
    const late = performance.now() >= endMs ? 'no answer, no end' : '';
    const proxyClosed = closed;
    client.destroy();
    const stuck = late || (await this.#settled());
    return { ...backend.take(), received: parts.join(''), closed: proxyClosed, reset, stuck };
  }

  async #settled(): Promise<string> {
    const endMs = performance.now() + DEADLINE_MS;
    const { handler, server } = this.#proxy;
    for (;;) {
      const busy = [handler.traffic.inFlight, server.connectionCount, this.#backend.unfinishedCount];
      if (busy.every((count) => count === 0)) return '';
      if (performance.now() > endMs) return `left behind: requests, connections, half requests ${busy}`;
      await turn();
    }
  }
}

/** Accepts canonical requests only, and answers each as the case says. */
class Backend {
  readonly #server: Server;
  readonly #pending = new Map<Socket, string>();
  #seen: Seen = { requests: [], partial: [], faults: [] };
  #answer: Answer = () => ({ bytes: [], end: true });

  constructor() {
    this.#server = createServer({ noDelay: true }, (socket) => this.#serve(socket));
  }

  /** Connections on which a request has begun. */
  get unfinishedCount(): number {
    return [...this.#pending.values()].filter((text) => text !== '').length;
  }

  listen(): Promise<number> {
    return new Promise((resolve) => {
      this.#server.listen(0, '127.0.0.1', () => {
        const address = this.#server.address();
        resolve(typeof address === 'object' && address !== null ? address.port : 0);
      });
    });
  }

  begin(answer: Answer): void {
    this.#answer = answer;
    this.#seen = { requests: [], partial: [], faults: [] };
  }

  take(): Seen {
    return this.#seen;
  }

  close(): Promise<void> {
    for (const socket of this.#pending.keys()) socket.destroy();
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  #serve(socket: Socket): void {
    this.#pending.set(socket, '');
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk: Buffer) => {
      this.#pending.set(socket, this.#read(socket, this.#pending.get(socket) + chunk.toString('latin1')));
    });
    socket.on('close', () => {
      const rest = this.#pending.get(socket) ?? '';
      this.#pending.delete(socket);
      if (rest !== '') this.#cut(rest);
    });
  }

  /** Reads the complete requests and returns the rest. */
  #read(socket: Socket, text: string): string {
    let at = 0;
    try {
      for (;;) {
        const found = takeRequest(text, at);
        if (found === null || !found.request.complete) break;
        at = found.end;
        const { bytes, end } = this.#answer(this.#seen.requests.length);
        this.#seen.requests.push(found.request);
        void send(socket, bytes, end);
      }
    } catch (thrown) {
      this.#seen.faults.push(`${String(thrown)} in ${JSON.stringify(text.slice(at, at + 600))}`);
      socket.destroy();
      return '';
    }
    return text.slice(at);
  }

  #cut(rest: string): void {
    try {
      const found = takeRequest(rest, 0);
      if (found !== null) this.#seen.partial.push(found.request);
    } catch (thrown) {
      this.#seen.faults.push(`${String(thrown)} in ${JSON.stringify(rest.slice(0, 600))}`);
    }
  }
}

async function send(socket: Socket, bytes: readonly Buffer[], end: boolean): Promise<void> {
  for (const [i, piece] of bytes.entries()) {
    if (i > 0) await turn();
    if (!socket.destroyed) socket.write(piece);
  }
  if (end) socket.end();
}
