import type { Decision } from '../../src/limit/decision.ts';

/** decisionOf is a request that the store admitted, with half of the tokens left, but for these fields. */
export function decisionOf(fields: Partial<Decision> = {}): Decision {
  return {
    allowed: true,
    shadowed: false,
    storeDenied: false,
    charged: true,
    source: 'store',
    policyName: 'default',
    capacity: 100,
    refillPerSecond: 10,
    remaining: 50,
    retryAfterMs: 0,
    resetMs: 5_000,
    members: null,
    ...fields,
  };
}
