/** What a server makes of frames: one of node:http2 (nghttp2), and a session of ours. */
import { once } from 'node:events';
import { createServer, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { RawSession } from '../http2/raw-session.ts';
import { OK, type StreamOwner } from '../http2/session-scene.ts';
import {
  FrameSocket,
  feedAll,
  type OurOutcome,
  type Outcome,
  type Seen,
  WINDOW_BYTES,
} from './frame-outcome.ts';
import { ANSWERED } from './generate-fields.ts';

/** NodeServer is a server that every case connects to. */
export class NodeServer {
  readonly #server = createServer({ settings: { enableConnectProtocol: true, maxConcurrentStreams: 100 } });
  /** By the port of the client. */
  readonly #cases = new Map<number, Map<number, Seen>>();

  constructor() {
    this.#server.on('sessionError', () => undefined);
    this.#server.on('session', (session: ServerHttp2Session) => {
      const port = session.socket.remotePort ?? 0;
      session.on('error', () => undefined);
      session.on('stream', (stream: ServerHttp2Stream, _fields, _flags, raw: string[]) =>
        this.#onStream(this.#cases.get(port), stream, raw),
      );
    });
  }

  async start(): Promise<void> {
    await once(this.#server.listen(0, '127.0.0.1'), 'listening');
  }

  close(): void {
    this.#server.close();
  }

  #onStream(all: Map<number, Seen> | undefined, stream: ServerHttp2Stream, fields: string[]): void {
    const seen: Seen = { fields, body: '', trailers: null, ended: false, wasReset: false };
    all?.set(stream.id ?? 0, seen);
    stream.on('error', () => undefined);
    stream.on('data', (piece: Buffer) => (seen.body += piece.toString('latin1')));
    stream.on('end', () => (seen.ended = true));
    stream.on('trailers', (_fields: unknown, _flags: unknown, raw: string[]) => (seen.trailers = raw));
    if (fields[1] === ANSWERED) stream.respond({ ':status': 200 }, { endStream: true });
  }

  async run(parts: readonly Buffer[]): Promise<Outcome> {
    const { peer, localPort } = await FrameSocket.connect((this.#server.address() as AddressInfo).port);
    const seen = new Map<number, Seen>();
    this.#cases.set(localPort, seen);
    await peer.sendAll(parts);
    const outcome = peer.outcome(seen);
    this.#cases.delete(localPort);
    peer.close();
    return outcome;
  }
}

/** requestOurs feeds a server session of ours. */
export function requestOurs(
  parts: readonly Buffer[],
  endsOf: (part: Buffer) => number[],
): Promise<OurOutcome> {
  const raw = new RawSession({ streamWindowBytes: WINDOW_BYTES, connectionWindowBytes: WINDOW_BYTES });
  raw.host.serve = (request) => {
    if (request.head[1] === ANSWERED) request.stream.sendFields(OK, true);
    request.stream.resume();
  };
  return feedAll(raw, parts, endsOf, seenBy);
}

function seenBy({ head, body, fields, hasEnded, isHeadOnly, closedBy, stream }: StreamOwner): Seen {
  return {
    fields: head,
    body: body.toString('latin1'),
    trailers: fields[0] ?? null,
    ended: hasEnded || isHeadOnly,
    wasReset: closedBy !== null && !stream.isWhole,
  };
}
