/** Turns random operations into takes and the model's replies. */
import assert from 'node:assert/strict';
import type { TakeReply, TakeRequest } from '../../../src/contract/buckets.ts';
import { BucketModel } from './bucket-model.ts';
import type { Operation } from './bucket-operations.ts';

export interface ExpectedTake {
  request: TakeRequest;
  nowUs: number;
  reply: TakeReply;
}

const START_US = 1_790_000_000_000_000;

/** expectedTakes runs the model. Later operations give back the leases that it grants. */
export function expectedTakes(
  operations: readonly Operation[],
  key: string,
  startUs = START_US,
): ExpectedTake[] {
  const model = new BucketModel();
  const leases: { tokens: number; epoch: number }[] = [];
  const taken: { tokens: number; epoch: number }[] = [];
  let nowUs = startUs;
  let versionUs = 1;
  return operations.map((operation) => {
    nowUs = Math.max(0, nowUs + operation.stepUs);
    const asked = Math.max(1, versionUs + operation.versionStep);
    versionUs = Math.max(versionUs, asked);
    const { settle, undo } = operation;
    const lease = pick(leases, settle?.index ?? null);
    const settled = Math.max(0, (lease?.tokens ?? 0) + (settle?.excess ?? 0));
    const spent = Math.floor(settled * (settle?.spentPart ?? 0));
    const undone = pick(taken, undo);
    const request: TakeRequest = {
      key,
      capacity: operation.capacity,
      rateMicro: operation.rateMicro,
      versionUs: asked,
      need: operation.need,
      partial: operation.partial,
      ahead: operation.ahead,
      ret: lease === undefined ? 0 : settled - spent,
      spent: lease === undefined ? 0 : spent,
      retEpoch: lease?.epoch ?? 0,
      refund: undone?.tokens ?? 0,
      refundEpoch: undone?.epoch ?? 0,
    };
    const reply = model.take(request, nowUs);
    if (reply.ahead > 0) leases.push({ tokens: reply.ahead, epoch: reply.epoch });
    if (reply.granted > 0) taken.push({ tokens: reply.granted, epoch: reply.epoch });
    assertInvariants(model);
    return { request, nowUs, reply };
  });
}

function pick<T>(list: T[], index: number | null): T | undefined {
  return index === null || list.length === 0 ? undefined : list.splice(index % list.length, 1)[0];
}

function assertInvariants(model: BucketModel): void {
  const kept = model.kept;
  if (kept === null) return;
  const out = [...kept.out.values()].reduce((sum, tokens) => sum + tokens, 0n);
  assert.ok(kept.level >= 0n, 'a level below zero');
  // After a shrink there may be more on lease than the capacity; then the level must be 0.
  assert.ok(
    kept.level === 0n || kept.level + out * 1_000_000n <= kept.capacity * 1_000_000n,
    'more than capacity',
  );
}

export function assertSameReply(actual: TakeReply, { reply, request }: ExpectedTake): void {
  assert.deepEqual(actual, reply, `for ${JSON.stringify(request)}`);
}
