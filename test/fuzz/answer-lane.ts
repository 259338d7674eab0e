/** What a client makes of frames: one of node:http2 (nghttp2), and a session of ours. */

import { once } from 'node:events';
import { type ClientHttp2Stream, connect } from 'node:http2';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { RawSession } from '../http2/raw-session.ts';
import { requestOf, type StreamOwner } from '../http2/session-scene.ts';
import { PREFACE, TYPES } from '../support/h2-frames.ts';
import {
  FrameSocket,
  feedAll,
  type OurOutcome,
  type Outcome,
  type Seen,
  WINDOW_BYTES,
} from './frame-outcome.ts';
import { OPENED } from './generate-frames.ts';

/** The second of these has a body that does not end. */
const METHODS = ['GET', 'POST', 'GET'];

/** NodeClients makes a client for each case; a lane runs one at a time. */
export class NodeClients {
  readonly #server = createServer((socket) => this.#onSocket(socket));
  #onSocket: (socket: Socket) => void = () => undefined;

  async start(): Promise<void> {
    await once(this.#server.listen(0, '127.0.0.1'), 'listening');
  }

  close(): void {
    this.#server.close();
  }

  async run(parts: readonly Buffer[]): Promise<Outcome> {
    const connected = new Promise<Socket>((resolve) => (this.#onSocket = resolve));
    const session = connect(`http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`, {
      settings: { enablePush: false },
    });
    session.on('error', () => undefined);
    const seen = new Map<number, Seen>();
    for (const [i, method] of METHODS.entries()) {
      const stream = session.request({ ':method': method, ':path': '/' }, { endStream: method === 'GET' });
      seen.set(OPENED[i]!, watched(stream));
    }
    const peer = new FrameSocket(await connected, PREFACE.length);
    const isHead = ({ type }: { type: number }): boolean => type === TYPES.headers;
    await peer.until((frames) => frames.filter(isHead).length === METHODS.length);
    await peer.sendAll(parts);
    const outcome = peer.outcome(seen);
    session.destroy();
    peer.close();
    return outcome;
  }
}

function watched(stream: ClientHttp2Stream): Seen {
  const seen: Seen = { fields: [], body: '', trailers: null, ended: false, wasReset: false };
  stream.on('error', () => undefined);
  for (const event of ['headers', 'response'])
    stream.on(event, (_fields: unknown, _flags: unknown, raw: string[]) => seen.fields.push(...raw));
  stream.on('data', (piece: Buffer) => (seen.body += piece.toString('latin1')));
  stream.on('end', () => (seen.ended = true));
  stream.on('trailers', (_fields: unknown, _flags: unknown, raw: string[]) => (seen.trailers = raw));
  return seen;
}

/** answerOurs feeds a client session of ours. */
export async function answerOurs(
  parts: readonly Buffer[],
  endsOf: (part: Buffer) => number[],
): Promise<OurOutcome> {
  const raw = new RawSession({
    isServer: false,
    streamWindowBytes: WINDOW_BYTES,
    connectionWindowBytes: WINDOW_BYTES,
  });
  const owners = METHODS.map((method) => raw.host.open(requestOf(method), method === 'GET'));
  return feedAll(raw, parts, endsOf, seenBy, owners);
}

function seenBy({ fields, body, hasEnded, closedBy, stream, log }: StreamOwner): Seen {
  const heads = fields.filter(([name]) => name === ':status');
  return {
    fields: heads.flat(),
    body: body.toString('latin1'),
    trailers: fields.find(([name]) => name !== ':status') ?? (heads.length < fields.length ? [] : null),
    ended: hasEnded,
    wasReset: closedBy !== null && !stream.isWhole && log.length > 0,
  };
}
