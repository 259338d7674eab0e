/** What a refusal of Redis says, for callers that do not load ioredis. */

/** isTryAgain tells the refusal of a call whose keys are not all on the node: nothing of it was run. */
export function isTryAgain(thrown: unknown): boolean {
  return thrown instanceof Error && thrown.message.startsWith('TRYAGAIN');
}
