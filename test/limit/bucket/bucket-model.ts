/** An independent model of the token bucket in BigInt. Tests compare lua/take-tokens-n.lua and bucket-state.ts with it. */
import type { TakeReply, TakeRequest } from '../../../src/contract/buckets.ts';

const M = 1_000_000n;
const LEASE = 50_000n;

interface ModelState {
  level: bigint;
  at: bigint;
  version: bigint;
  capacity: bigint;
  rate: bigint;
  epoch: bigint;
  /** Lease tokens by the epoch of the grant. */
  out: Map<bigint, bigint>;
}

const least = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const most = (a: bigint, b: bigint): bigint => (a > b ? a : b);
/** Rounds towards minus infinity, unlike BigInt division. */
const floorDiv = (a: bigint, b: bigint): bigint => a / b - (a % b < 0n ? 1n : 0n);

export class BucketModel {
  #kept: ModelState | null = null;

  /** The state that the store would have; for invariants. */
  get kept(): ModelState | null {
    return this.#kept;
  }

  take(request: Omit<TakeRequest, 'key' | 'partial'> & { partial: boolean }, nowUs: number): TakeReply {
    const capacity = BigInt(request.capacity);
    const rate = BigInt(request.rateMicro);
    const version = BigInt(request.versionUs);
    const need = BigInt(request.need);
    const ret = BigInt(request.ret);
    const settled = ret + BigInt(request.spent);
    const refund = BigInt(request.refund);
    let now = BigInt(nowUs);
    let dirty = false;
    let state: ModelState;
    if (this.#kept === null) {
      const epoch = floorDiv(now, LEASE);
      state = { level: capacity * M, at: now, version, capacity, rate, epoch, out: new Map() };
    } else {
      state = { ...this.#kept, out: new Map(this.#kept.out) };
      if (now < state.at && state.at - now <= M) now = state.at;
      if (now < state.at) {
        // A new timeline: leases move into it and keep their age.
        const epoch = floorDiv(now, LEASE);
        const shift = epoch - state.epoch;
        state.out = new Map([...state.out].map(([granted, tokens]) => [granted + shift, tokens]));
        state.epoch = epoch;
        state.at = now;
        dirty = true;
      }
      const lower = capacity < state.capacity || (capacity === state.capacity && rate < state.rate);
      const newer = version > state.version || (version === state.version && lower);
      if (newer) state.rate = least(rate, state.rate);
      this.#flow(state, now);
      if (newer) {
        Object.assign(state, { version, capacity, rate });
        state.level = most(0n, least(state.level, this.#room(state)));
        dirty = true;
      }
    }
    const recent = (epoch: bigint): boolean => epoch === state.epoch || epoch === state.epoch - 1n;
    const lent = BigInt(request.retEpoch);
    const out = state.out.get(lent) ?? 0n;
    if (settled > 0n && recent(lent) && out >= settled) {
      state.out.set(lent, out - settled);
      state.level = most(state.level, least(state.level + ret * M, this.#room(state)));
      dirty = true;
    }
    if (refund > 0n && recent(BigInt(request.refundEpoch))) {
      state.level = most(state.level, least(state.level + refund * M, this.#room(state)));
      dirty = true;
    }
    const available = state.level / M;
    const granted = available >= need ? need : request.partial ? available : 0n;
    let ahead = 0n;
    if (granted === need && request.ahead > 0) {
      const quarter = state.capacity / 4n;
      const half = floorDiv(available - granted - (state.capacity - 3n * quarter), 2n);
      ahead = most(0n, least(least(BigInt(request.ahead), half), quarter - this.#leased(state)));
    }
    if (granted + ahead > 0n) {
      state.level -= (granted + ahead) * M;
      state.out.set(state.epoch, (state.out.get(state.epoch) ?? 0n) + ahead);
      dirty = true;
    }
    if (dirty) this.#kept = state;
    return {
      granted: Number(granted),
      ahead: Number(ahead),
      levelMicro: Number(state.level),
      epoch: Number(state.epoch),
      versionUs: Number(state.version),
      capacity: Number(state.capacity),
      rateMicro: Number(state.rate),
    };
  }

  #leased(state: ModelState): bigint {
    return (state.out.get(state.epoch) ?? 0n) + (state.out.get(state.epoch - 1n) ?? 0n);
  }

  #room(state: ModelState): bigint {
    return (state.capacity - this.#leased(state)) * M;
  }

  /** Epoch by epoch: the level may rise to the capacity minus the tokens on lease at that moment. */
  #flow(state: ModelState, now: bigint): void {
    const end = floorDiv(now, LEASE);
    while (state.epoch < end && this.#leased(state) > 0n) {
      this.#rise(state, (state.epoch + 1n) * LEASE);
      state.epoch += 1n;
    }
    state.epoch = end > state.epoch ? end : state.epoch;
    this.#rise(state, now);
    for (const granted of state.out.keys()) if (granted < state.epoch - 1n) state.out.delete(granted);
  }

  #rise(state: ModelState, to: bigint): void {
    if (to <= state.at) return;
    const top = this.#room(state);
    if (state.level < top) state.level = least(top, state.level + ((to - state.at) * state.rate) / M);
    state.at = to;
  }
}
