import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LEASE_MS, LeaseAccount, type LeaseAsk, Lot, leasable } from '../../../src/limit/limiter/lease.ts';

const RULES = { capacity: 10_000, rateMicro: 10_000_000_000, versionUs: 1 };
const ROUND_TRIP_MS = 1;
const NOTHING = { ahead: 0, ret: 0, spent: 0, retEpoch: 0 };

/** An account that has seen a demand of 4 tokens per ms up to `nowMs`. */
function busyAccount(nowMs: number): LeaseAccount {
  const account = new LeaseAccount(nowMs - 50, 0);
  for (let i = 0; i < 200; i++) account.observe(1, nowMs - 25);
  account.observe(1, nowMs);
  return account;
}

test('only buckets with enough capacity and refill have a lease account', () => {
  const rules = (capacity: number, refillPerSecond: number) => ({
    capacity,
    rateMicro: refillPerSecond * 1e6,
    versionUs: 1,
  });
  assert.equal(leasable(rules(20, 160)), true);
  assert.equal(leasable(rules(19, 10_000)), false);
  assert.equal(leasable(rules(1_000_000, 159)), false);
});

test('a lease account asks for the demand of just over half a lease, minus the tokens that it has', () => {
  const account = busyAccount(1_000);
  const wanted = 4 * LEASE_MS * 0.6;
  assert.deepEqual(account.ask(1_000, RULES, true), { ...NOTHING, ahead: wanted });
  account.add(new Lot(50, 7, 1_050));
  assert.equal(account.ask(1_000, RULES, true).ahead, wanted - 50);
  assert.equal(account.ask(1_000, null, true).ahead, 0, 'leases are off');
  assert.equal(account.ask(1_000, { ...RULES, capacity: 19 }, true).ahead, 0, 'the bucket has become small');
});

test('after one expensive request a lease account asks for less than its cost', () => {
  const account = busyAccount(1_000);
  const before = account.ask(1_000, RULES, true).ahead;
  account.observe(5_000, 1_020);
  for (let i = 0; i < 199; i++) account.observe(1, 1_020);
  assert.ok(account.ask(1_050, RULES, true).ahead - before <= 10);
  const alone = new LeaseAccount(0, 0);
  for (const ms of [0, 49]) alone.observe(5_000, ms);
  assert.ok(alone.ask(50, RULES, true).ahead <= 20);
});

test('a lease account asks for nothing at low demand, and forgets past demand', () => {
  const calm = new LeaseAccount(0, 0);
  for (let ms = 0; ms < 500; ms += 20) calm.observe(1, ms);
  assert.equal(calm.ask(500, RULES, true).ahead, 0);
  const busy = busyAccount(1_000);
  busy.observe(1, 3_000);
  assert.equal(busy.ask(3_000, RULES, true).ahead, 0);
});

test('a lease account spends the lot that expires first, over several lots, and never more than there is', () => {
  const account = new LeaseAccount(0, 0);
  const [old, young] = [new Lot(2, 1, 50), new Lot(3, 2, 60)];
  account.add(old);
  account.add(young);
  assert.equal(account.spend(6, 10), null);
  assert.equal(account.spend(3, 10), old);
  assert.equal(account.held, 2);
  assert.equal(account.spend(2, 10), young);
  assert.equal(account.spend(1, 10), null);
});

test('a lease account does not spend a lot at or after its end', () => {
  const account = new LeaseAccount(0, 0);
  account.add(new Lot(5, 1, 50));
  assert.ok(account.covers(5, 49.999));
  assert.equal(account.spend(1, 50), null);
  assert.equal(account.held, 0);
  account.add(new Lot(5, 1, 50));
  assert.equal(account.spend(1, 50), null, 'expired on its way');
});

test('a lease account spends from the next lot when the oldest has just expired', () => {
  const account = new LeaseAccount(0, 0);
  const [old, young] = [new Lot(2, 1, 50), new Lot(3, 2, 60)];
  account.add(old);
  account.add(young);
  assert.equal(account.spend(1, 50), young);
  assert.equal(account.spend(2, 50), young, 'its other tokens are there too');
  assert.equal(account.held, 0);
  account.add(new Lot(1, 3, 100));
  assert.equal(account.spend(2, 55), null, 'and none is there twice');
});

test('a lease account returns the rest of a lot in its last quarter, by epoch, once', () => {
  const account = new LeaseAccount(0, 0);
  account.add(new Lot(5, 1, 50));
  account.add(new Lot(7, 1, 51));
  account.add(new Lot(9, 2, 52));
  account.spend(1, 2);
  assert.equal(account.age(37), false);
  assert.equal(account.age(40), true);
  assert.equal(account.spend(1, 40), null, 'what goes back is not spent');
  assert.deepEqual(account.ask(40, null, false), { ...NOTHING, ret: 11, spent: 1, retEpoch: 1 });
  assert.deepEqual(account.ask(40, null, false), { ...NOTHING, ret: 9, retEpoch: 2 });
  assert.deepEqual(account.ask(40, null, true), NOTHING);
});

test('a lease account reports spent tokens with the next take, also of lots that are still valid', () => {
  const account = new LeaseAccount(0, 0);
  account.add(new Lot(3, 1, 50));
  account.add(new Lot(5, 2, 60));
  account.spend(4, 10);
  assert.deepEqual(account.ask(10, null, false), NOTHING);
  assert.deepEqual(account.ask(10, null, true), { ...NOTHING, spent: 3, retEpoch: 1 });
  assert.deepEqual(account.ask(10, null, true), { ...NOTHING, spent: 1, retEpoch: 2 });
  account.spend(1, 10);
  assert.deepEqual(account.ask(10, null, true), { ...NOTHING, spent: 1, retEpoch: 2 }, 'each token once');
  assert.equal(account.held, 3);
});

test('a lease account does not return tokens that the store would refuse', () => {
  const account = new LeaseAccount(0, 0);
  account.add(new Lot(5, 1, 50));
  assert.deepEqual(account.ask(100, null, true), NOTHING);
});

test('a lease account takes unused tokens back into their lot until they are reported or the lot ends', () => {
  const account = new LeaseAccount(0, 0);
  const lot = new Lot(5, 1, 50);
  account.add(lot);
  assert.equal(account.spend(3, 0), lot);
  assert.equal(account.unspend(lot, 2, 10), true);
  assert.equal(account.held, 4);
  assert.equal(account.unspend(lot, 2, 10), false, 'only one is spent');
  assert.equal(account.ask(10, null, true).spent, 1);
  assert.equal(account.unspend(lot, 1, 10), false, 'the store has made room for it');
  account.spend(1, 10);
  assert.equal(account.unspend(lot, 1, 50), false, 'the lot has ended');
  assert.deepEqual(account.ask(50, null, false), { ...NOTHING, ret: 3, spent: 1, retEpoch: 1 });
});

test('a lease account asks for more before it is empty, except from a bucket that has just lent less than asked', () => {
  const account = busyAccount(1_000);
  assert.equal(account.runsLow(1_000, ROUND_TRIP_MS), true);
  account.add(new Lot(20, 1, 1_050));
  assert.equal(account.runsLow(1_000, ROUND_TRIP_MS), false);
  account.spend(12, 1_000);
  assert.equal(account.runsLow(1_000, ROUND_TRIP_MS), true);
  account.lent(100, 10, 1_000);
  assert.equal(account.runsLow(1_001, ROUND_TRIP_MS), false);
  assert.equal(account.runsLow(1_000 + LEASE_MS / 4, ROUND_TRIP_MS), true);
  assert.ok(account.ask(1_000 + LEASE_MS / 4, RULES, false).ahead > 0);
  assert.equal(account.ask(1_000 + LEASE_MS / 4, RULES, false).ahead, 0, 'asked for already');
});

test('a lease account returns or drops all tokens on request', () => {
  const account = new LeaseAccount(0, 0);
  account.add(new Lot(5, 1, 50));
  account.returnAll();
  assert.deepEqual([account.held, account.hasReturns], [0, true]);
  account.add(new Lot(5, 1, 50));
  account.drop();
  assert.deepEqual([account.held, account.hasReturns], [0, false]);
});

test('a lease account spends each token once, and the store accounts for every token that it holds', (t) => {
  const seed = Date.now() & 0x7fffffff;
  t.diagnostic(`seed ${seed}`);
  const step = fc.record({
    afterMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 12 }), fc.integer({ min: 0, max: 120 })),
    action: fc.constantFrom('add', 'add', 'spend', 'spend', 'spend', 'unspend', 'ask', 'ask', 'returnAll'),
    tokens: fc.integer({ min: 1, max: 20 }),
    waiting: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 80, size: 'max' }), (steps) => {
      const account = new LeaseAccount(0, 0);
      const books = new Books();
      let nowMs = 0;
      for (const { afterMs, action, tokens, waiting } of steps) {
        nowMs += afterMs;
        if (action === 'add') books.lend(account, tokens, nowMs);
        if (action === 'spend') books.spend(account, tokens, nowMs);
        if (action === 'unspend') books.unspend(account, nowMs);
        if (action === 'ask') books.hear(account.ask(nowMs, null, waiting));
        if (action === 'returnAll') account.returnAll();
        account.covers(0, nowMs);
        books.check(account, nowMs);
      }
    }),
    { seed, numRuns: 500 },
  );
});

/** The store's view of the leases, with an epoch per 50 ms of the same clock. */
class Books {
  /** Tokens by epoch that were lent and neither returned nor reported as spent. */
  readonly #out = new Map<number, number>();
  readonly #spends: { lot: Lot; cost: number }[] = [];
  #lent = 0;
  #spent = 0;
  #returned = 0;

  lend(account: LeaseAccount, tokens: number, nowMs: number): void {
    const epoch = Math.floor(nowMs / LEASE_MS);
    account.add(new Lot(tokens, epoch, nowMs + LEASE_MS));
    this.#out.set(epoch, (this.#out.get(epoch) ?? 0) + tokens);
    this.#lent += tokens;
  }

  spend(account: LeaseAccount, cost: number, nowMs: number): void {
    const lot = account.spend(cost, nowMs);
    if (lot === null) return;
    this.#spent += cost;
    this.#spends.push({ lot, cost });
  }

  unspend(account: LeaseAccount, nowMs: number): void {
    const last = this.#spends.pop();
    if (last !== undefined && account.unspend(last.lot, last.cost, nowMs)) this.#spent -= last.cost;
  }

  hear({ ret, spent, retEpoch }: LeaseAsk): void {
    const out = (this.#out.get(retEpoch) ?? 0) - ret - spent;
    assert.ok(out >= 0, 'more settled than lent');
    this.#out.set(retEpoch, out);
    this.#returned += ret;
  }

  check(account: LeaseAccount, nowMs: number): void {
    assert.ok(this.#spent + this.#returned + account.held <= this.#lent, 'a token twice');
    const epoch = Math.floor(nowMs / LEASE_MS);
    const accounted = (this.#out.get(epoch) ?? 0) + (this.#out.get(epoch - 1) ?? 0);
    assert.ok(account.held <= accounted, `holds ${account.held}, the store knows of ${accounted}`);
  }
}
