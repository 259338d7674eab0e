/**
 * A tunnel carries the bytes of another protocol between a client and a backend, after a 101 (B17). It owns both wires.
 *
 * State    entered by  what it means
 * OPEN     open        bytes flow both ways. A FIN is passed on, and the other direction flows until it ends.
 * LEAVING  leave       a WebSocket of a worker that drains: close frames are sent, and the peers have LEAVE_MS to end it.
 * OVER     #end        both wires are closed, the access line is written. Final.
 *
 * Any state ends in OVER: when both sides have ended, one has broken, nothing has come for `timeouts.tunnelIdle`, or the worker stops.
 */
import type { Backend } from '../../balance/backend.ts';
import { systemClock } from '../../contract/clock.ts';
import type { SwitchedClient, TunnelEnd } from '../../contract/downstream.ts';
import { TUNNEL_TEXT_MAX, type TunnelView } from '../../contract/messages.ts';
import type { Reason } from '../../contract/outcomes.ts';
import type { Wire } from '../../contract/wire.ts';
import { NOWHERE, type Placed } from '../../infra/placed-list.ts';
import type { BodyBuffers } from '../../memory/body-buffers.ts';
import type { AccessRecord } from '../access-record.ts';
import { TunnelSide } from './tunnel-side.ts';
import { isWebSocket } from './websocket.ts';

/** After close frames have gone to both sides, the peers have this long to answer and to close. */
const LEAVE_MS = 5_000;

const OPEN = 0;
const LEAVING = 1;
const OVER = 2;

/** What a tunnel is opened with; the transaction has filled `record`, and counts nothing more of the request. */
export interface TunnelStart {
  record: AccessRecord;
  /** Monotonic: when the request began. */
  startMs: number;
  poolName: string;
  backend: Backend;
  /** As the client wrote it. */
  token: string;
  wire: Wire;
}

/** TunnelOwner is the worker's Tunnels. */
export interface TunnelOwner {
  readonly buffers: BodyBuffers;
  monotonicMs(): number;
  onOver(tunnel: Tunnel): void;
}

export class Tunnel implements TunnelEnd, Placed {
  readonly start: TunnelStart;
  /** Counts the tunnels of a worker, from 1. */
  readonly number: number;
  /** Wall clock. */
  readonly openedAtMs = systemClock.wallMs();
  readonly client: TunnelSide;
  readonly backend: TunnelSide;
  place = NOWHERE;
  /** When a byte was last seen to come or go; monotonic. */
  sinceMs: number;

  readonly #owner: TunnelOwner;
  #stream: SwitchedClient | null = null;
  #state = OPEN;
  #progress = 0;
  /** Monotonic; 0: a close frame has still to go. */
  #endsAtMs = 0;
  /** What the worker's counters have of the bytes. */
  #countedIn = 0;
  #countedOut = 0;

  constructor(start: TunnelStart, number: number, owner: TunnelOwner) {
    this.start = start;
    this.number = number;
    this.#owner = owner;
    this.sinceMs = owner.monotonicMs();
    const hasFrames = isWebSocket(start.token);
    this.client = new TunnelSide(this, { isClient: true, hasFrames });
    this.backend = new TunnelSide(this, { isClient: false, hasFrames });
    this.client.other = this.backend;
    this.backend.other = this.client;
    this.backend.wire = start.wire;
  }

  get buffers(): BodyBuffers {
    return this.#owner.buffers;
  }

  /** The client's side, for Downstream.switchProtocols. */
  get events(): TunnelSide {
    return this.client;
  }

  /** open begins to pass on bytes. @param rest what came behind the 101, in the memory of the read */
  open(stream: SwitchedClient, rest: Buffer): void {
    this.#stream = stream;
    this.client.wire = stream.wire;
    this.start.wire.handTo(this.backend);
    if (rest.length > 0) this.backend.take(Buffer.from(rest), rest.length);
    const early = stream.takeEarly();
    if (early.length > 0) this.client.take(early, early.length);
    if (!this.client.isStopped) stream.wire.resume();
  }

  /** look is called about once a second: it ends a tunnel whose time is over. @param idleMs of the plan in force */
  look(nowMs: number, idleMs: number): void {
    const progress = this.client.progress + this.backend.progress;
    if (progress !== this.#progress) {
      this.#progress = progress;
      this.sinceMs = nowMs;
    }
    const isLeft = this.#state === LEAVING && this.client.isClosing && this.backend.isClosing;
    if (isLeft) this.#endsAtMs ||= nowMs + LEAVE_MS;
    if (isLeft && nowMs >= this.#endsAtMs) this.#end('shutdown');
    else if (nowMs - this.sinceMs >= idleMs) this.#end('tunnel_idle');
    else {
      // A side that is not read shows no reset.
      this.client.probe();
      this.backend.probe();
    }
  }

  /** view is what the admin port shows. */
  view(nowMs: number): TunnelView {
    const { number, openedAtMs, client, backend } = this;
    const { record, poolName, token } = this.start;
    return {
      number,
      route: record.route ?? '',
      pool: poolName,
      backend: record.backend ?? '',
      clientIp: record.clientIp,
      clientId: record.clientId,
      host: record.host?.slice(0, TUNNEL_TEXT_MAX) ?? null,
      path: record.path?.slice(0, TUNNEL_TEXT_MAX) ?? null,
      protocol: token,
      openedAtMs,
      bytesIn: client.readBytes,
      bytesOut: backend.readBytes,
      idleMs: client.progress + backend.progress === this.#progress ? nowMs - this.sinceMs : 0,
    };
  }

  /** takeCounts is how many bytes came from the client and from the backend since the last call. */
  takeCounts(): { bytesIn: number; bytesOut: number } {
    const bytesIn = this.client.readBytes - this.#countedIn;
    const bytesOut = this.backend.readBytes - this.#countedOut;
    this.#countedIn += bytesIn;
    this.#countedOut += bytesOut;
    return { bytesIn, bytesOut };
  }

  /** leave ends a WebSocket by close frames in both directions, between frames. Other protocols know no goodbye: they go on. */
  leave(): void {
    if (this.#state !== OPEN || !isWebSocket(this.start.token)) return;
    this.#state = LEAVING;
    this.client.sayClose();
    this.backend.sayClose();
  }

  /** halfClose is all that can be told to the peers of another protocol, shortly before they are cut. */
  halfClose(): void {
    this.client.wire.end();
    this.backend.wire.end();
  }

  /** cut is called when the client's connection must end at once. */
  cut(): void {
    this.#end('shutdown');
  }

  // Called by the sides.

  onQuiet(): void {
    const { client, backend } = this;
    if (client.hasEnded && backend.hasEnded && !client.wire.blocked && !backend.wire.blocked) this.#end('ok');
  }

  onBroken(side: TunnelSide): void {
    this.client.wire.reset();
    this.backend.wire.reset();
    this.#end(side === this.client ? 'client_abort' : 'upstream_reset');
  }

  #end(reason: Reason): void {
    if (this.#state === OVER) return;
    const { record, startMs, backend } = this.start;
    record.reason = this.#state === LEAVING ? 'shutdown' : reason;
    this.#state = OVER;
    this.client.wire.close();
    this.backend.wire.close();
    this.client.close();
    this.backend.close();
    backend.inFlight -= 1;
    record.bytesIn = this.client.readBytes;
    record.bytesOut = this.backend.readBytes;
    record.totalMs = this.#owner.monotonicMs() - startMs;
    this.#owner.onOver(this);
    this.#stream?.onTunnelOver();
  }
}
