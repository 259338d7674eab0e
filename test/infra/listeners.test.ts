import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bindEverywhere } from '../../src/infra/listeners.ts';

/** A machine that refuses `::` with a code. */
async function hostsTried(code: string): Promise<string[]> {
  const tried: string[] = [];
  const bind = (host: string): string => {
    tried.push(host);
    if (host === '::') throw Object.assign(new Error(code), { code });
    return host;
  };
  await bindEverywhere(bind).catch((error: Error) => tried.push(error.message));
  return tried;
}

test('without IPv6 every address is every address of IPv4, and another failure stays one', async () => {
  for (const code of ['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EINVAL'])
    assert.deepEqual(await hostsTried(code), ['::', '0.0.0.0']);
  assert.deepEqual(await hostsTried('EADDRINUSE'), ['::', 'EADDRINUSE']);
  assert.equal(await bindEverywhere((host) => Promise.resolve(host)), '::');
});
