/** How a request ends that the limiter refuses. */
import { OUTCOMES, type Outcome } from '../contract/outcomes.ts';
import type { CallerRates } from '../limit/caller/caller-rates.ts';
import type { Caller } from '../limit/caller/identity.ts';
import { type Decision, violatedPolicies } from '../limit/decision.ts';
import type { AccessRecord } from './access-record.ts';

/** limitOutcome is called by the transaction, once. It counts the caller as limited and names the policies in the record. */
export function limitOutcome(
  decision: Decision,
  caller: Caller | null,
  record: AccessRecord,
  { limited }: CallerRates,
): Outcome {
  if (decision.storeDenied) {
    record.policies = [decision.policyName];
    return OUTCOMES.store_denied;
  }
  if (caller !== null) limited.count(caller);
  record.policies = violatedPolicies(decision);
  return decision.retryAfterMs < 0 ? OUTCOMES.cost_above_capacity : OUTCOMES.limited;
}
