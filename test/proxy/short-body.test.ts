/** The body of a light request must come as it does from node's own: the same calls on both, side by side. */
import assert from 'node:assert/strict';
import { Socket } from 'node:net';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { InboundRequest } from '../../src/worker/inbound-request.ts';
import { PUBLIC_MESSAGES, SHORT_MESSAGES } from '../../src/worker/short-messages.ts';
import { Random } from '../fuzz/random.ts';

const SCENARIOS = 300;
const STEPS = 24;
/** Of the event loop, for node to be through with what a step has set off. */
const TURNS = 4;
const SIZES = [1, 7, 1_000, 30_000, 65_536];

/** A request whose head has come, and what became of its body so far. */
class Probed {
  readonly socket = new Socket();
  readonly seen: string[] = [];
  readonly #request: InboundRequest;
  #complete = false;
  /** Of what nobody hears, only the socket and the end count. */
  #dropped = false;

  constructor({ IncomingMessage }: typeof PUBLIC_MESSAGES) {
    this.#request = new IncomingMessage(this.socket);
    const lines: [string[], number] = [['Content-Length', '1000000'], 2];
    (this.#request as unknown as { _addHeaderLines(...given: typeof lines): void })._addHeaderLines(...lines);
    this.socket.resume();
  }

  /** As node's parser does. */
  push(chunk: Buffer | null): void {
    if (chunk === null) this.#request.complete = this.#complete = true;
    const more = this.#request.push(chunk);
    if (chunk === null) this.socket.resume();
    else if (!more) this.socket.pause();
    if (chunk !== null && !this.#dropped) this.seen.push(`push ${more}`);
  }

  step(step: Step): void {
    switch (step.kind) {
      case 'push':
        if (!this.#complete) this.push(step.chunk);
        break;
      case 'read':
        this.#request.flowInto({
          onPiece: (chunk) => {
            this.seen.push(`piece ${chunk[0]} ${chunk.length}`);
            if (chunk[0] === HOLDING) this.#request.holdBody();
          },
          onEnd: () => this.seen.push('end'),
        });
        break;
      case 'hold':
        this.#request.holdBody();
        break;
      case 'release':
        this.#request.releaseBody();
        break;
      case 'drop':
        this.#request.dropBody();
        this.#dropped = true;
    }
    if (!this.#dropped) this.seen.push(`flows ${this.#request.bodyFlows}`);
  }

  settled(): void {
    this.seen.push(`paused ${this.socket.isPaused()} ended ${this.#request.readableEnded}`);
  }
}

type Step = { kind: 'push'; chunk: Buffer | null } | { kind: 'read' | 'hold' | 'release' | 'drop' | 'turn' };
/** A piece that begins with it makes the reader stop within its call. */
const HOLDING = 5;

function makeSteps(random: Random): Step[] {
  const readAt = random.below(STEPS / 2);
  const isRead = !random.oneIn(5);
  const steps: Step[] = [];
  for (let i = 0; i < STEPS; i++) {
    if (i === readAt) steps.push({ kind: isRead ? 'read' : 'drop' });
    const kind = random.pick(['push', 'push', 'push', 'turn', 'turn', 'release', 'hold'] as const);
    // Nobody stops or starts what he does not read.
    if (kind === 'push') steps.push({ kind, chunk: Buffer.alloc(random.pick(SIZES), random.below(8)) });
    else if (kind === 'turn' || (isRead && i > readAt)) steps.push({ kind });
  }
  const end = [
    { kind: 'turn' },
    { kind: 'push', chunk: null },
    { kind: 'turn' },
    { kind: 'release' },
    { kind: 'turn' },
  ];
  return [...steps, ...(end as Step[])];
}

test('pieces, pauses and the end come as from a stream of node’s', async () => {
  const seed = Number(process.env.BODY_SEED ?? Date.now());
  for (let scenario = 0; scenario < SCENARIOS; scenario++) {
    const steps = makeSteps(new Random(seed + scenario));
    const pair = [new Probed(PUBLIC_MESSAGES), new Probed(SHORT_MESSAGES)] as const;
    for (const step of steps) {
      for (const each of pair) each.step(step);
      if (step.kind !== 'turn') continue;
      for (let turn = 0; turn < TURNS; turn++) await nextTurn();
      for (const each of pair) each.settled();
      const [node, short] = pair;
      assert.deepEqual(short.seen, node.seen, `BODY_SEED=${seed + scenario}`);
    }
    for (const { socket } of pair) socket.destroy();
  }
});
