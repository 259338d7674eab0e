/** Wires of every kind, each with a plain socket as its peer and an owner that records the calls of its wire. */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Wire } from '../../../src/contract/wire.ts';
import { socketWires } from '../../../src/infra/wire/socket-wire.ts';
import type { ConnectEvents, WireMaker } from '../../../src/infra/wire/wire.ts';
import { HANDLE_WIRE_VERSIONS, wiresOf } from '../../../src/infra/wire/wire-choice.ts';
import { makeTempFolder } from '../../support/temp-folder.ts';
import { within } from '../../support/wait.ts';

/** The handle wire is tested on the versions of its list, and when `make test-node` asks for it. */
const hasHandle = HANDLE_WIRE_VERSIONS.includes(process.version) || process.env.SLUICE_UNTESTED_WIRE === '1';

export const MAKERS: readonly WireMaker[] = hasHandle ? [socketWires, wiresOf('handle')] : [socketWires];

/** More than the kernel buffers on a TCP connection or a Unix socket that nobody reads. */
export const LARGE_BYTES = 8 * 1024 * 1024;

type Told = 'connect' | 'end' | 'drain' | 'write error' | 'broken';

/** RecordingOwner copies what it reads. It gives out buffers of the given sizes in turn, never the same one twice in a row. */
export class RecordingOwner implements ConnectEvents {
  /** Set by pair() before the first use. */
  wire!: Wire;
  readonly told: Told[] = [];
  readonly errors: Error[] = [];
  readCount = 0;
  /** Calls by the wire after close() or reset(), or from inside a call by the owner. */
  readonly wrongCalls: string[] = [];
  /** Run at the end of a call by the wire; `open`: when the wire has opened, in the same turn. */
  readonly hooks: Partial<Record<Told | 'read' | 'open', () => void>> = {};
  readonly #pieces: Buffer[] = [];
  readonly #memory: Buffer[];
  #turn = 0;
  #gone = false;
  #calling = false;

  constructor(sizes: readonly number[] = [16_384]) {
    this.#memory = [...sizes, ...sizes].map((size) => Buffer.alloc(size));
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#pieces);
  }

  get text(): string {
    return this.bytes.toString('latin1');
  }

  count(what: Told): number {
    return this.told.filter((told) => told === what).length;
  }

  /** call calls the wire, which must not call back meanwhile. */
  call<T>(act: (wire: Wire) => T): T {
    this.#calling = true;
    try {
      return act(this.wire);
    } finally {
      this.#calling = false;
    }
  }

  /** leave closes or resets the wire: from now on it must make no call. */
  leave(how: 'close' | 'reset' = 'close'): void {
    this.#gone = true;
    this.call((wire) => wire[how]());
  }

  nextBuffer(): Buffer {
    this.#check('nextBuffer');
    this.#turn = (this.#turn + 1) % this.#memory.length;
    return this.#current();
  }

  onRead(byteCount: number): void {
    this.#check('onRead');
    this.readCount++;
    const memory = this.#current();
    this.#pieces.push(Buffer.from(memory.subarray(0, byteCount)));
    memory.fill('#');
    this.hooks.read?.();
  }

  onConnect(): void {
    this.#note('connect');
  }

  onEnd(): void {
    this.#note('end');
  }

  onDrain(): void {
    this.#note('drain');
  }

  onWriteError(error: Error): void {
    this.errors.push(error);
    this.#note('write error');
  }

  onBroken(error: Error): void {
    this.errors.push(error);
    this.#note('broken');
  }

  #current(): Buffer {
    return this.#memory[this.#turn]!;
  }

  #note(what: Told): void {
    this.#check(what);
    this.told.push(what);
    this.hooks[what]?.();
  }

  #check(what: string): void {
    if (this.#gone) this.wrongCalls.push(`${what} after the close`);
    // connect and accept ask for the memory of the first read from inside.
    else if (this.#calling) this.wrongCalls.push(`${what} from within a call`);
  }
}

export interface Pair {
  wire: Wire;
  owner: RecordingOwner;
  /** Stays half open after a FIN, and is paused at first. */
  peer: Socket;
  peerErrors: Error[];
}

export interface Way {
  /** For test titles. */
  name: string;
  side: 'accepted' | 'connecting';
  transport: 'TCP' | 'Unix';
  maker: WireMaker;
  /** pair opens both ends and closes them with the test. */
  pair: (t: TestContext, owner?: RecordingOwner) => Promise<Pair>;
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

export async function listen(t: TestContext, server: Server, transport: 'TCP' | 'Unix'): Promise<void> {
  const at = transport === 'TCP' ? { host: '127.0.0.1', port: 0 } : { path: join(makeTempFolder(), 's') };
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
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  await listen(t, server, way.transport);
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const connected = Promise.withResolvers<void>();
  owner.hooks.connect = () => {
    owner.hooks.open?.();
    connected.resolve();
  };
  owner.wire = way.maker.connect({ host: '127.0.0.1', port: tcpPort(server) }, owner);
  t.after(() => owner.wire.close());
  const [peer] = await within(accepted, 15_000, 'a connection');
  const peerErrors = peerOf(t, peer);
  await within(connected.promise, 15_000, 'onConnect');
  owner.told.length = 0;
  return { wire: owner.wire, owner, peer, peerErrors };
}

function wayOf(maker: WireMaker, side: Way['side'], transport: Way['transport']): Way {
  const way: Way = {
    name: `${maker.name} wire, ${side}, ${transport}`,
    side,
    transport,
    maker,
    pair: (t, owner = new RecordingOwner()) =>
      side === 'accepted' ? acceptedPair(t, way, owner) : connectingPair(t, way, owner),
  };
  return way;
}

/** Every kind of wire. Connections to backends exist only over TCP. */
export const WAYS: readonly Way[] = MAKERS.flatMap((maker) => [
  wayOf(maker, 'accepted', 'TCP'),
  wayOf(maker, 'accepted', 'Unix'),
  wayOf(maker, 'connecting', 'TCP'),
]);

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
