import assert from 'node:assert/strict';
import type { LookupAddress } from 'node:dns';
import { test } from 'node:test';
import { BackendNames } from '../../src/infra/backend-names.ts';
import { within } from '../support/wait.ts';

const ADDRESS: LookupAddress = { address: '192.0.2.7', family: 4 };
const outage = Object.assign(new Error('getaddrinfo EAI_AGAIN app'), { code: 'EAI_AGAIN' });

/** A resolver that the test controls; counts the calls. */
function makeNames(answer: () => Promise<LookupAddress[]>) {
  const seen = { calls: 0, answer };
  const names = new BackendNames(() => {
    seen.calls++;
    return seen.answer();
  });
  return { names, seen };
}

function lookUp(names: BackendNames, options = {}): Promise<string | LookupAddress[]> {
  const looked = new Promise<string | LookupAddress[]>((resolve, reject) => {
    names.lookupWith({ patienceMs: 20, ...options })('app', { all: true }, (error, addresses) => {
      if (error === null) resolve(addresses);
      else reject(error);
    });
  });
  return within(looked, 5_000, 'the look-up ends');
}

test('a name is looked up each time, and the newest answer is used', async () => {
  const { names, seen } = makeNames(async () => [ADDRESS]);
  assert.equal(names.knows('app'), false);
  assert.equal(names.knows('192.0.2.1'), true);
  assert.deepEqual(await lookUp(names), [ADDRESS]);
  assert.equal(names.knows('app'), true);
  const moved = { address: '192.0.2.8', family: 4 };
  seen.answer = async () => [moved];
  assert.deepEqual(await lookUp(names), [moved]);
  assert.equal(seen.calls, 2);
});

test('when the resolver fails the last good answer is used, and the outage is reported', async () => {
  const { names, seen } = makeNames(async () => [ADDRESS]);
  await lookUp(names);
  for (const answer of [async () => Promise.reject(outage), async () => []]) {
    seen.answer = answer;
    const told: Error[] = [];
    assert.deepEqual(await lookUp(names, { onOutage: (error: Error) => told.push(error) }), [ADDRESS]);
    assert.equal(told.length, 1);
  }
});

test('a name that never resolved gives the resolver’s own error', async () => {
  const { names } = makeNames(async () => Promise.reject(outage));
  await assert.rejects(lookUp(names), { code: 'EAI_AGAIN' });
  assert.equal(names.knows('app'), false);
});

test('a hanging resolver gets one query per name, and names with an earlier answer do not wait', async () => {
  const { names, seen } = makeNames(async () => [ADDRESS]);
  await lookUp(names);
  const late = Promise.withResolvers<LookupAddress[]>();
  seen.answer = () => late.promise;
  assert.deepEqual(await Promise.all([lookUp(names), lookUp(names), lookUp(names)]), [
    [ADDRESS],
    [ADDRESS],
    [ADDRESS],
  ]);
  assert.equal(seen.calls, 2);
  const moved = { address: '192.0.2.8', family: 4 };
  late.resolve([moved]);
  assert.deepEqual(await lookUp(names, { patienceMs: 5_000 }), [moved]);
});

test('of an answer with very many addresses the first ones count', async () => {
  const many = Array.from({ length: 5_000 }, (_, i) => ({ address: `10.0.${i >> 8}.${i & 255}`, family: 4 }));
  const { names } = makeNames(async () => many);
  assert.deepEqual(await lookUp(names), many.slice(0, 32));
});
