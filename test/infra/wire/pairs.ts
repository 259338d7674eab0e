/** Wires of every kind, each with a plain socket as its peer. */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import type { Wire } from '../../../src/contract/wire.ts';
import { BackendTls } from '../../../src/infra/wire/backend-tls.ts';
import { socketWires } from '../../../src/infra/wire/socket-wire.ts';
import { HANDLE_WIRE_VERSIONS, wiresOf } from '../../../src/infra/wire/wire-choice.ts';
import type { WireMaker } from '../../../src/infra/wire/wire-maker.ts';
import { Authority, type Certificate } from '../../support/certificates.ts';
import { backendTlsSettings } from '../../support/settings.ts';
import { makeTempFolder } from '../../support/temp-folder.ts';
import { within } from '../../support/wait.ts';
import { RecordingOwner } from './recording-owner.ts';

/** The handle wire is tested on the versions of its list, and when `make test-node` asks for it. */
const hasHandle = HANDLE_WIRE_VERSIONS.includes(process.version) || process.env.SLUICE_UNTESTED_WIRE === '1';

export const MAKERS: readonly WireMaker[] = hasHandle ? [socketWires, wiresOf('handle')] : [socketWires];

/** More than the kernel buffers on a TCP connection or a Unix socket that nobody reads. */
export const LARGE_BYTES = 8 * 1024 * 1024;

export interface Pair {
  wire: Wire;
  owner: RecordingOwner;
  /** Stays half open after a FIN, and is paused at first. */
  peer: Socket;
  peerErrors: Error[];
}

type Transport = 'TCP' | 'Unix' | 'TLS';

export interface Way {
  /** For test titles. */
  name: string;
  side: 'accepted' | 'connecting';
  transport: Transport;
  maker: WireMaker;
  /** Whether a write that the kernel takes at once is told only in the next turn: node's documented API over TLS. */
  tellsLate: boolean;
  /** Whether a connection to a backend is still read after a failed write; node's documented API over TLS closes it. */
  survivesFailedWrite: boolean;
  /** pair opens both ends and closes them with the test. */
  pair: (t: TestContext, owner?: RecordingOwner) => Promise<Pair>;
}

/** The TCP sockets below peers with TLS. */
const tcpBelow = new WeakMap<Socket, Socket>();
let madeAuthority: Authority | null = null;
let madeCertificate: Certificate | null = null;

function authority(): Authority {
  madeAuthority ??= new Authority();
  return madeAuthority;
}

function certificate(): Certificate {
  madeCertificate ??= authority().issue(['127.0.0.1']);
  return madeCertificate;
}

function peerOf(t: TestContext, peer: Socket): Error[] {
  const errors: Error[] = [];
  t.after(() => peer.destroy());
  peer.on('error', (error) => errors.push(error));
  return errors;
}

export function tcpPort(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no TCP server');
  return address.port;
}

export async function listen(t: TestContext, server: Server, transport: Transport): Promise<void> {
  const at = transport === 'Unix' ? { path: join(makeTempFolder(), 's') } : { host: '127.0.0.1', port: 0 };
  server.listen(at);
  t.after(() => server.close());
  await once(server, 'listening');
}

async function acceptedPair(t: TestContext, way: Way, owner: RecordingOwner): Promise<Pair> {
  const accepted = Promise.withResolvers<Wire>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    owner.wire = way.maker.accept(socket, owner);
    t.after(() => owner.wire.close());
    owner.hooks.open?.();
    accepted.resolve(owner.wire);
  });
  await listen(t, server, way.transport);
  const address = server.address();
  const target = typeof address === 'string' ? { path: address } : { port: tcpPort(server) };
  const peer = connect({ host: '127.0.0.1', ...target, allowHalfOpen: true }).pause();
  const peerErrors = peerOf(t, peer);
  const connected = once(peer, 'connect');
  const wire = await within(accepted.promise, 15_000, 'a connection');
  // An earlier reset would be a failed connection for the peer.
  await within(connected, 15_000, 'the peer to be connected');
  return { wire, owner, peer, peerErrors };
}

async function connectingPair(t: TestContext, way: Way, owner: RecordingOwner): Promise<Pair> {
  const isTls = way.transport === 'TLS';
  const options = { allowHalfOpen: true, pauseOnConnect: true };
  const server = isTls ? createTlsServer({ ...certificate(), ...options }) : createServer(options);
  await listen(t, server, way.transport);
  const accepted = once(server, isTls ? 'secureConnection' : 'connection') as Promise<[Socket]>;
  const connected = Promise.withResolvers<void>();
  owner.hooks.connect = () => {
    owner.hooks.open?.();
    connected.resolve();
  };
  const tls = isTls ? new BackendTls('127.0.0.1', backendTlsSettings({ ca: authority().root })) : undefined;
  owner.wire = way.maker.connect({ host: '127.0.0.1', port: tcpPort(server), tls }, owner);
  t.after(() => owner.wire.close());
  let tcp: Socket | undefined;
  server.on('connection', (socket) => (tcp = socket));
  const [peer] = await within(accepted, 15_000, 'a connection');
  if (isTls && tcp !== undefined) tcpBelow.set(peer, tcp);
  const peerErrors = peerOf(t, peer);
  await within(connected.promise, 15_000, 'onConnect');
  owner.told.length = 0;
  return { wire: owner.wire, owner, peer, peerErrors };
}

function wayOf(maker: WireMaker, side: Way['side'], transport: Way['transport']): Way {
  const isSlowTls = transport === 'TLS' && maker.name === 'socket';
  const way: Way = {
    tellsLate: isSlowTls,
    survivesFailedWrite: !isSlowTls,
    name: `${maker.name} wire, ${side}, ${transport}`,
    side,
    transport,
    maker,
    pair: (t, owner = new RecordingOwner()) =>
      side === 'accepted' ? acceptedPair(t, way, owner) : connectingPair(t, way, owner),
  };
  return way;
}

/** Every kind of wire. No backend is on a Unix socket. */
export const WAYS: readonly Way[] = MAKERS.flatMap((maker) => [
  wayOf(maker, 'accepted', 'TCP'),
  wayOf(maker, 'accepted', 'Unix'),
  wayOf(maker, 'connecting', 'TCP'),
]);

/** Wires to backends over TLS. What they have taken is more than what was written, and they cannot reset a Unix socket. */
export const TLS_WAYS: readonly Way[] = MAKERS.map((maker) => wayOf(maker, 'connecting', 'TLS'));

/** breakOff disconnects at once: with a RST over TCP and TLS, by a close on a Unix socket. */
export async function breakOff(peer: Socket): Promise<void> {
  const closed = closeOf(peer);
  const tcp = tcpBelow.get(peer) ?? peer;
  if (tcp.remoteAddress === undefined) peer.destroy();
  else tcp.resetAndDestroy();
  await closed;
}

/** collect records everything that a peer receives. */
export function collect(peer: Socket): { readonly text: string; readonly length: number; ended: boolean } {
  const pieces: Buffer[] = [];
  const got = {
    length: 0,
    ended: false,
    get text() {
      return Buffer.concat(pieces).toString('latin1');
    },
  };
  peer.on('data', (piece: Buffer) => {
    pieces.push(piece);
    got.length += piece.length;
  });
  peer.on('end', () => {
    got.ended = true;
  });
  peer.resume();
  return got;
}

/** closeOf resolves when a socket has closed, with or without an error. */
export function closeOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

/** turns waits for some turns of the event loop, after which everything that is ready now has been delivered. */
export async function turns(count = 10): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}
