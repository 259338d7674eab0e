/** Wraps a limiter for charge() and records all decisions. */
import type { PolicySettings } from '../../../src/contract/settings.ts';
import { bucketKey } from '../../../src/limit/bucket/bucket-key.ts';
import type { Caller } from '../../../src/limit/caller/identity.ts';
import type { TokenTaker } from '../../../src/limit/charge.ts';
import type { Decision } from '../../../src/limit/decision.ts';
import { Lot } from '../../../src/limit/limiter/lease.ts';
import type { Auditor, Charge } from './auditor.ts';
import type { SimWorker } from './sim-worker.ts';

/** One per request. */
export class AuditedTaker implements TokenTaker {
  readonly charges: Charge[] = [];
  readonly #taker: TokenTaker;
  readonly #worker: SimWorker;
  readonly #auditor: Auditor;

  constructor(taker: TokenTaker, worker: SimWorker, auditor: Auditor) {
    this.#taker = taker;
    this.#worker = worker;
    this.#auditor = auditor;
  }

  take(caller: Caller, policy: PolicySettings, cost: number): Decision | Promise<Decision> {
    const taken = this.#taker.take(caller, policy, cost);
    const write = (decision: Decision) => {
      const charge = this.#auditor.decided(this.#worker, keyOf(caller, policy), decision, cost);
      if (charge !== null) this.charges.push(charge);
      return decision;
    };
    return taken instanceof Promise ? taken.then(write) : write(taken);
  }

  refusalOf(caller: Caller, policy: PolicySettings, cost: number): Decision | null {
    return this.#taker.refusalOf(caller, policy, cost);
  }

  peek(caller: Caller, policy: PolicySettings): Decision {
    return this.#taker.peek(caller, policy);
  }

  giveBack(caller: Caller, policy: PolicySettings, decision: Decision, cost: number): void {
    const charge = this.charges.find((one) => one.decision === decision) ?? null;
    const tokensBefore = tokensIn(decision);
    this.#taker.giveBack(caller, policy, decision, cost);
    const intoLot = tokensIn(decision) > tokensBefore;
    this.#auditor.gaveBack(this.#worker, keyOf(caller, policy), decision, { cost, charge, intoLot });
  }
}

function tokensIn({ origin }: Decision): number {
  return origin instanceof Lot ? origin.tokens : 0;
}

const keys = new Map<string, string>();

/** Bounded, because a simulation has few callers and policies. */
function keyOf({ bucketHash }: Caller, { name }: PolicySettings): string {
  const id = `${bucketHash} ${name}`;
  let key = keys.get(id);
  if (key === undefined) {
    key = bucketKey(bucketHash, name);
    keys.set(id, key);
  }
  return key;
}
