/** Sessions for tests, with owners that remember what they hear. */

import type { Wire } from '../../src/contract/wire.ts';
import { frameBuffers } from '../../src/http2/frame-buffers.ts';
import { Session } from '../../src/http2/session.ts';
import type { SessionHost, SessionOptions } from '../../src/http2/session-host.ts';
import type { Stream } from '../../src/http2/stream.ts';
import type { StreamEvents } from '../../src/http2/stream-events.ts';
import type { ConnectEvents } from '../../src/infra/wire/wire-maker.ts';
import { poison } from '../support/poisoned-buffers.ts';
import { waitFor } from '../support/wait.ts';
import { join, PairedWire } from '../support/wire-pair.ts';

poison(frameBuffers);

export const OPTIONS: SessionOptions = {
  isServer: true,
  streamWindowBytes: 65_535,
  connectionWindowBytes: 1 << 20,
  maxStreams: 100,
  maxFields: 100,
  maxListBytes: 65_536,
};

/** StreamOwner remembers what a stream says. */
export class StreamOwner implements StreamEvents {
  stream!: Stream;
  /** The head of a request, and whether nothing follows it. */
  readonly head: string[];
  isHeadOnly = false;
  readonly fields: string[][] = [];
  readonly pieces: Buffer[] = [];
  /** The names of all events, in their order. */
  readonly log: string[] = [];
  byteCount = 0;
  hasEnded = false;
  drainCount = 0;
  /** null: it is not closed. */
  closedBy: number | null = null;
  /** Called behind the note. */
  onPiece: (piece: Buffer) => void = () => undefined;
  onDrained: () => void = () => undefined;
  onAny: (event: string) => void = () => undefined;

  constructor(head: string[] = []) {
    this.head = head;
  }

  get body(): Buffer {
    return Buffer.concat(this.pieces);
  }

  onFields(fields: string[], ends: boolean): void {
    this.fields.push(fields);
    this.#note(ends ? 'fields, the last' : 'fields');
  }

  onData(piece: Buffer): void {
    this.pieces.push(Buffer.from(piece));
    this.byteCount += piece.length;
    this.onPiece(piece);
    this.#note('data');
  }

  onEnd(): void {
    this.hasEnded = true;
    this.#note('end');
  }

  onDrain(): void {
    this.drainCount++;
    this.onDrained();
    this.#note('drain');
  }

  onClosed(code: number): void {
    this.closedBy = code;
    this.#note('closed');
  }

  #note(event: string): void {
    if (event !== 'data' || this.log.at(-1) !== 'data') this.log.push(event);
    this.onAny(event);
  }
}

/** TestHost is the owner of a session. */
export class TestHost implements SessionHost {
  session!: Session;
  wire!: Wire;
  readonly requests: StreamOwner[] = [];
  readonly noise: string[] = [];
  readonly goaways: [lastStreamId: number, code: number][] = [];
  readonly closedStreams: number[] = [];
  maxStreams = -1;
  pongCount = 0;
  /** undefined: it is not closed. */
  closedBy: Error | null | undefined;
  isWireClosed = false;
  /** Serves a request. */
  serve: (request: StreamOwner, ends: boolean) => void = () => undefined;
  onAny: (event: string) => void = () => undefined;

  get lastRequest(): StreamOwner {
    return this.requests.at(-1) as StreamOwner;
  }

  onStream(stream: Stream, fields: string[], ends: boolean): void {
    const request = new StreamOwner(fields);
    request.stream = stream;
    request.isHeadOnly = ends;
    stream.events = request;
    this.requests.push(request);
    this.serve(request, ends);
  }

  onStreamClosed(stream: Stream): void {
    this.closedStreams.push(stream.id);
    this.onAny('stream closed');
  }

  onSettings(maxStreams: number): void {
    this.maxStreams = maxStreams;
    this.onAny('settings');
  }

  onGoaway(lastStreamId: number, code: number): void {
    this.goaways.push([lastStreamId, code]);
    this.onAny('goaway');
  }

  onUnwritable(): void {
    this.onAny('unwritable');
  }

  onPong(): void {
    this.pongCount++;
    this.onAny('pong');
  }

  onNoise(kind: string): void {
    this.noise.push(kind);
    this.onAny(kind);
  }

  onClosed(error: Error | null): void {
    if (this.closedBy !== undefined) throw new Error('closed twice');
    this.closedBy = error;
    this.onAny('closed');
  }

  onWireClosed(): void {
    if (this.closedBy === undefined || this.isWireClosed)
      throw new Error('a wire that closes at the wrong time');
    this.isWireClosed = true;
  }

  /** open begins a request. */
  open(fields: readonly string[] = requestOf(), ends = true): StreamOwner {
    const owner = new StreamOwner();
    owner.stream = this.session.open(fields, ends, owner);
    return owner;
  }
}

export function startSession(
  makeWire: (events: ConnectEvents) => Wire,
  options: Partial<SessionOptions>,
): TestHost {
  const host = new TestHost();
  const keepWire = (events: ConnectEvents) => (host.wire = makeWire(events));
  host.session = new Session(keepWire, { ...OPTIONS, ...options }, host);
  return host;
}

export interface Scene {
  client: TestHost;
  server: TestHost;
  clientWire: PairedWire;
  serverWire: PairedWire;
}

/** joinSessions makes a client and a server, and waits until each has the other's SETTINGS. */
export async function joinSessions({
  client: clientOptions = {},
  server: serverOptions = {},
}: {
  client?: Partial<SessionOptions>;
  server?: Partial<SessionOptions>;
} = {}): Promise<Scene> {
  const client = startSession((events) => new PairedWire(events), { ...clientOptions, isServer: false });
  const server = startSession((events) => new PairedWire(events as ConnectEvents), serverOptions);
  const clientWire = client.wire as PairedWire;
  const serverWire = server.wire as PairedWire;
  join(clientWire, serverWire);
  await waitFor('SETTINGS', () => client.maxStreams >= 0 && server.maxStreams >= 0, { everyMs: 1 });
  return { client, server, clientWire, serverWire };
}

/** upload opens a request with a body on a server that does not read it yet. */
export async function upload(scene: Scene): Promise<{ sender: StreamOwner; reader: StreamOwner }> {
  const { client, server } = scene;
  const sender = client.open(requestOf('POST'), false);
  await until('the request', () => server.requests.some(({ stream }) => stream.id === sender.stream.id));
  return { sender, reader: server.lastRequest };
}

/** requestOf is the fields of a request. */
export function requestOf(method = 'GET', path = '/', more: readonly string[] = []): string[] {
  return [':method', method, ':scheme', 'http', ':authority', 'a', ':path', path, ...more];
}

export const OK = [':status', '200'];

/** sendAll gives the whole body to a stream, in pieces, and ends it. */
export function sendAll(
  owner: StreamOwner,
  body: Buffer,
  { pieceBytes = 65_536, trailers = [] as string[] } = {},
): void {
  let at = 0;
  const go = (): void => {
    while (at < body.length) {
      const piece = body.subarray(at, at + pieceBytes);
      at += piece.length;
      if (!owner.stream.write(piece)) {
        owner.onDrained = go;
        return;
      }
    }
    owner.onDrained = () => undefined;
    owner.stream.end(trailers);
  };
  go();
}

/** turns waits for this many turns of the event loop to end. */
export async function turns(count = 1): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** answered waits for the answer to a PING: the peer has read all that this side has sent before. */
export async function answered(host: TestHost): Promise<void> {
  const wanted = host.pongCount + 1;
  host.session.ping();
  await until('the answer to a PING', () => host.pongCount === wanted);
}

/** until waits for a condition of things in memory. */
export function until(what: string, probe: () => unknown): Promise<unknown> {
  return waitFor(what, () => Boolean(probe()), { everyMs: 1 });
}
