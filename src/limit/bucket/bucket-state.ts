/**
 * The token bucket of lua/take-tokens-n.lua in TypeScript, statement by statement, for stores in memory. The tests compare both
 * with a BigInt model: change both or neither.
 *
 * Invariants: level + leased tokens ≤ capacity; the level rises by at most rate × time; a missing bucket is a full one. All
 * numbers are integers below 2^53.
 */
import type { TakeReply, TakeRequest } from '../../contract/buckets.ts';
import { LEASE_US, MICRO } from '../store/bucket-store.ts';
import type { BucketRules } from './effective-limits.ts';

export interface BucketState {
  levelMicro: number;
  /** The time of levelMicro, on the store's clock. */
  atUs: number;
  versionUs: number;
  capacity: number;
  rateMicro: number;
  /** atUs / LEASE_US, rounded down; then the tokens leased in this epoch and in the one before. */
  epoch: number;
  leased: number;
  leasedBefore: number;
}

export interface TakeOutcome {
  reply: TakeReply;
  /** null: nothing changed, so keep the old state. A refused take must not move the time; the script says why. */
  state: BucketState | null;
}

/** If the clock goes back further than this, the bucket follows it. */
const MAX_BACKSTEP_US = MICRO;
const MAX_TTL_MS = 90 * 24 * 3600 * 1000;
const TTL_MARGIN_MS = 1000;

/** takeFrom applies a take to the kept state of a bucket; null: there is none, so the bucket is full. */
export function takeFrom(kept: BucketState | null, request: TakeRequest, nowUs: number): TakeOutcome {
  const state = kept === null ? fullBucket(request, nowUs) : { ...kept };
  const newer = kept !== null && prevails(request, state);
  // The limits changed at an unknown time since the last take. The lower of both rates gives nothing away.
  const rateMicro = newer ? Math.min(state.rateMicro, request.rateMicro) : state.rateMicro;
  let changed = (kept !== null && advance(state, nowUs, rateMicro)) || newer;
  if (newer) adopt(state, request);
  changed = reportLeased(state, request) || changed;
  changed = refund(state, request) || changed;
  const available = Math.floor(state.levelMicro / MICRO);
  const granted = available >= request.need ? request.need : request.partial ? available : 0;
  const ahead = granted === request.need ? lendable(state, request.ahead, available - granted) : 0;
  if (granted + ahead > 0) {
    state.levelMicro -= (granted + ahead) * MICRO;
    state.leased += ahead;
    changed = true;
  }
  const { levelMicro, epoch, versionUs, capacity, rateMicro: ownRate } = state;
  const reply = { granted, ahead, levelMicro, epoch, versionUs, capacity, rateMicro: ownRate };
  return { reply, state: changed ? state : null };
}

/** ttlMsOf is how long a bucket must be kept: until it is full, and a margin. */
export function ttlMsOf(state: BucketState): number {
  const fullMs = Math.ceil(((state.capacity * MICRO - state.levelMicro) / state.rateMicro) * 1000);
  return Math.min(MAX_TTL_MS, fullMs + Math.ceil((2 * LEASE_US) / 1000) + TTL_MARGIN_MS);
}

/** refillOf is floor(us × rate / 1e6), in products that stay exact integers. */
export function refillOf(us: number, rateMicro: number): number {
  const sec = Math.floor(us / MICRO);
  const restUs = us % MICRO;
  const restRate = rateMicro % MICRO;
  const whole = Math.floor(rateMicro / MICRO);
  return sec * rateMicro + restUs * whole + Math.floor((restUs * restRate) / MICRO);
}

/** fullBucket is what an unused bucket is; local shares begin with it too. */
export function fullBucket({ versionUs, capacity, rateMicro }: BucketRules, atUs: number): BucketState {
  const level = { levelMicro: capacity * MICRO, atUs, versionUs, capacity, rateMicro };
  return { ...level, epoch: Math.floor(atUs / LEASE_US), leased: 0, leasedBefore: 0 };
}

/** Refills up to now. true: the clock was set back, which must be kept. */
function advance(state: BucketState, clockUs: number, rateMicro: number): boolean {
  const setBack = state.atUs - clockUs > MAX_BACKSTEP_US;
  if (setBack) {
    state.atUs = clockUs;
    state.epoch = Math.floor(clockUs / LEASE_US);
  }
  const nowUs = Math.max(clockUs, state.atUs);
  const { epoch, leased, leasedBefore } = state;
  // In steps, because leased tokens make room only after their epoch.
  if (leased + leasedBefore > 0) {
    accrue(state, Math.min(nowUs, (epoch + 1) * LEASE_US), state.capacity - leased - leasedBefore, rateMicro);
  }
  if (leased > 0) accrue(state, Math.min(nowUs, (epoch + 2) * LEASE_US), state.capacity - leased, rateMicro);
  accrue(state, nowUs, state.capacity, rateMicro);
  const nowEpoch = Math.floor(nowUs / LEASE_US);
  if (nowEpoch > epoch) {
    state.leasedBefore = nowEpoch === epoch + 1 ? leased : 0;
    state.leased = 0;
    state.epoch = nowEpoch;
  }
  return setBack;
}

function accrue(state: BucketState, toUs: number, topTokens: number, rateMicro: number): void {
  if (toUs <= state.atUs) return;
  const topMicro = topTokens * MICRO;
  if (state.levelMicro < topMicro) {
    state.levelMicro = Math.min(topMicro, state.levelMicro + refillOf(toUs - state.atUs, rateMicro));
  }
  state.atUs = toUs;
}

/** prevails: the newest limits win. For equal versions the lower capacity wins, then the lower rate, so that all callers agree. */
export function prevails(given: BucketRules, over: BucketRules): boolean {
  if (given.versionUs !== over.versionUs) return given.versionUs > over.versionUs;
  return (
    given.capacity < over.capacity || (given.capacity === over.capacity && given.rateMicro < over.rateMicro)
  );
}

function adopt(state: BucketState, { capacity, rateMicro, versionUs }: TakeRequest): void {
  state.versionUs = versionUs;
  state.capacity = capacity;
  state.rateMicro = rateMicro;
  // A lower capacity cuts the level, a higher one adds nothing.
  state.levelMicro = Math.max(0, Math.min(state.levelMicro, roomMicro(state)));
}

/** A report counts only while the bucket accounts for the tokens. Later it has made room for them already. */
function reportLeased(state: BucketState, { ret, spent, retEpoch }: TakeRequest): boolean {
  const reported = ret + spent;
  if (reported === 0) return false;
  if (retEpoch === state.epoch && state.leased >= reported) state.leased -= reported;
  else if (retEpoch === state.epoch - 1 && state.leasedBefore >= reported) state.leasedBefore -= reported;
  else return false;
  putBack(state, ret);
  return true;
}

/** A late refund would admit too much: the bucket may have refilled and been spent meanwhile. */
function refund(state: BucketState, { refund: tokens, refundEpoch }: TakeRequest): boolean {
  if (tokens === 0 || (refundEpoch !== state.epoch && refundEpoch !== state.epoch - 1)) return false;
  putBack(state, tokens);
  return true;
}

function putBack(state: BucketState, tokens: number): void {
  const { levelMicro } = state;
  state.levelMicro = Math.max(levelMicro, Math.min(levelMicro + tokens * MICRO, roomMicro(state)));
}

function roomMicro(state: BucketState): number {
  return (state.capacity - state.leased - state.leasedBefore) * MICRO;
}

/** Lends at most half of what is above the last quarter. At most a quarter of the capacity is on lease at a time. */
function lendable(state: BucketState, wanted: number, left: number): number {
  if (wanted === 0) return 0;
  const quarter = Math.floor(state.capacity / 4);
  const half = Math.floor((left - (state.capacity - 3 * quarter)) / 2);
  return Math.max(0, Math.min(wanted, half, quarter - state.leased - state.leasedBefore));
}
