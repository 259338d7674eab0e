/** What the form of a client holds: text as it was typed; the admin port decides what is a number. */
import type { Client, Mode } from '../../api/answers.ts';

export interface LimitDraft {
  capacity: string;
  refillPerSecond: string;
}

export interface Draft {
  clientId: string;
  mode: Mode;
  /** By policy; `default` is the client's own capacity and refillPerSecond. Empty texts: as the policy. */
  limits: Record<string, LimitDraft>;
}

export const DEFAULT_POLICY = 'default';

export function draftOf(client: Client | null, suggested: string): Draft {
  if (client === null) return { clientId: suggested, mode: 'limit', limits: {} };
  const { clientId, mode, capacity, refillPerSecond, limits } = client;
  const drafts = Object.entries(limits).map(([policy, own]) => [policy, textsOf(own)] as const);
  const first =
    capacity === null || refillPerSecond === null
      ? []
      : [[DEFAULT_POLICY, textsOf({ capacity, refillPerSecond })] as const];
  return { clientId, mode, limits: Object.fromEntries([...first, ...drafts]) };
}

function textsOf(own: { capacity: number; refillPerSecond: number }): LimitDraft {
  return { capacity: String(own.capacity), refillPerSecond: String(own.refillPerSecond) };
}

/** changesOf is the body of a PATCH: what differs from the client that the draft was made from. */
export function changesOf(client: Client, draft: Draft): object {
  const before = new Map(Object.entries(bodyOf(draftOf(client, ''))));
  const isNew = ([name, value]: [string, unknown]) =>
    JSON.stringify(value) !== JSON.stringify(before.get(name));
  return Object.fromEntries(Object.entries(bodyOf(draft)).filter(isNew));
}

/** bodyOf is the body of a POST without its clientId. */
export function bodyOf({ mode, limits }: Draft): object {
  const given = Object.entries(limits).filter(
    ([, own]) => own.capacity.trim() !== '' || own.refillPerSecond.trim() !== '',
  );
  const numbers = given.map(([policy, own]) => [
    policy,
    { capacity: numberOf(own.capacity), refillPerSecond: numberOf(own.refillPerSecond) },
  ]);
  const { [DEFAULT_POLICY]: own = { capacity: null, refillPerSecond: null }, ...others } =
    Object.fromEntries(numbers);
  return { mode, ...own, limits: others };
}

/** What is no number goes as it is, and the admin port says so. */
function numberOf(text: string): number | string | null {
  const trimmed = text.trim();
  if (trimmed === '') return null;
  return Number.isNaN(Number(trimmed)) ? trimmed : Number(trimmed);
}
