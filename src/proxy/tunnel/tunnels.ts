/** The tunnels of a worker: one timer looks after all of them, and a drain ends them. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { SwitchedClient, TunnelEnd } from '../../contract/downstream.ts';
import type { TunnelView } from '../../contract/messages.ts';
import { Deadline, type DeadlineTimer } from '../../infra/deadline-timer.ts';
import { PlacedList } from '../../infra/placed-list.ts';
import { processBodyBuffers } from '../../memory/body-buffers.ts';
import { type AccessRecord, keepTexts } from '../access-record.ts';
import type { Plan } from '../plan.ts';
import type { TrafficStats } from '../request-stats.ts';
import { Tunnel, type TunnelOwner, type TunnelStart } from './tunnel.ts';
import { isWebSocket } from './websocket.ts';

/** All tunnels are looked at LOOKS times per `timeouts.tunnelIdle`, and once per second at least. */
const LOOKS = 10;
const LOOK_MAX_MS = 1_000;
/** Tunnels that are told to end in one turn of the event loop. */
const LEAVES_PER_TURN = 256;

interface TunnelsDeps {
  /** The plan in force: its times and its access log hold for all tunnels, whatever plan they began with. */
  plan: () => Plan;
  timer: DeadlineTimer;
  traffic: TrafficStats;
  /** Writes the access line of a tunnel that has ended. */
  onEnd: (record: AccessRecord) => void;
}

/** Tunnels is made once per worker, by the handler. A tunnel keeps no plan, no pool and no counter of its route. */
export class Tunnels implements TunnelOwner {
  readonly buffers = processBodyBuffers;
  readonly #deps: TunnelsDeps;
  readonly #open = new PlacedList<Tunnel>();
  readonly #deadline = new Deadline(() => this.#look());
  #lastNumber = 0;
  #isLeaving = false;

  constructor(deps: TunnelsDeps) {
    this.#deps = deps;
  }

  get openCount(): number {
    return this.#open.items.length;
  }

  monotonicMs(): number {
    return this.#deps.timer.monotonicMs();
  }

  /**
   * open is called by a transaction. @param switchClient of Downstream
   * @param rest see ResponseSink.onSwitch
   */
  open(start: TunnelStart, switchClient: (tunnel: TunnelEnd) => SwitchedClient, rest: Buffer): void {
    keepTexts(start.record);
    if (isWebSocket(start.token)) start.record.protocol = 'websocket';
    this.#lastNumber += 1;
    const tunnel = new Tunnel(start, this.#lastNumber, this);
    const stream = switchClient(tunnel);
    this.#open.add(tunnel);
    if (!this.#deadline.armed) this.#arm();
    tunnel.open(stream, rest);
    if (this.#isLeaving) tunnel.leave();
  }

  onOver(tunnel: Tunnel): void {
    this.#open.remove(tunnel);
    if (this.openCount === 0) this.#deps.timer.disarm(this.#deadline);
    this.#countBytes(tunnel);
    this.#deps.onEnd(tunnel.start.record);
  }

  /** page is the part of the list that the admin port asks for: the lowest numbers above `after`. */
  page(after: number, limit: number): { items: TunnelView[]; more: boolean } {
    const found = this.#open.items.filter(({ number }) => number > after).sort((a, b) => a.number - b.number);
    const nowMs = this.monotonicMs();
    return { items: found.slice(0, limit).map((tunnel) => tunnel.view(nowMs)), more: found.length > limit };
  }

  /** leave is called when a drain begins: see Tunnel.leave. */
  async leave(): Promise<void> {
    this.#isLeaving = true;
    for (const [i, tunnel] of this.#open.items.slice().entries()) {
      if (i % LEAVES_PER_TURN === LEAVES_PER_TURN - 1) await nextTurn();
      tunnel.leave();
    }
  }

  /** halfClose is called shortly before a drain cuts what is left. */
  halfClose(): void {
    for (const tunnel of this.#open.items) tunnel.halfClose();
  }

  #arm(): void {
    const { timer, plan } = this.#deps;
    timer.arm(this.#deadline, Math.min(LOOK_MAX_MS, plan().timeouts.tunnelIdleMs / LOOKS));
  }

  #look(): void {
    const { timer, plan } = this.#deps;
    const { tunnelIdleMs } = plan().timeouts;
    const nowMs = timer.monotonicMs();
    for (const tunnel of this.#open.items.slice()) {
      this.#countBytes(tunnel);
      tunnel.look(nowMs, tunnelIdleMs);
    }
    if (this.openCount > 0) this.#arm();
  }

  /** Here and not only at the end, because a tunnel may be open for days. */
  #countBytes(tunnel: Tunnel): void {
    const { bytesIn, bytesOut } = tunnel.takeCounts();
    this.#deps.traffic.addBytes(bytesIn, bytesOut);
  }
}
