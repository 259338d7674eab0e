/** The certificates in pools.*.tls. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventLog } from '../../../src/primary/events/event-log.ts';
import { poolValidities, warnOfPoolsDaily } from '../../../src/primary/tls/pool-certificates.ts';
import { Authority } from '../../support/certificates.ts';
import { backendTlsSettings, poolSettings } from '../../support/settings.ts';
import { keepLog } from '../workers/fixtures/harness.ts';

const DAY_MS = 24 * 3_600_000;
const authority = new Authority();
const own = authority.issue(['sluice'], { notAfter: new Date(Date.now() + 30 * DAY_MS) });
const pools = [
  poolSettings({ name: 'plain' }),
  poolSettings({ name: 'public', tls: backendTlsSettings() }),
  poolSettings({ name: 'app', tls: backendTlsSettings({ ca: authority.root, own }) }),
];

test('the validity of the certificate in pools.*.tls.cert is known', () => {
  const [[name, validity] = ['', null], ...more] = poolValidities(pools);
  assert.deepEqual([name, more], ['app', []]);
  assert.equal(Math.round(((validity?.notAfterMs ?? 0) - Date.now()) / DAY_MS), 30);
});

test('once a day there is a warning of certificates of pools that end soon', (t) => {
  t.mock.timers.enable({ apis: ['setInterval', 'Date'], now: Date.now() });
  const { logger, lines } = keepLog();
  const stop = warnOfPoolsDaily(() => pools, new EventLog(logger));
  const said = (days: number) => {
    t.mock.timers.tick(days * DAY_MS);
    return lines.splice(0).map(({ pool, key, msg }) => [pool, key, String(msg).replace(/ on \S+Z/, '')]);
  };
  const ofCert = said(25).filter(([, key]) => key === 'cert');
  assert.deepEqual(ofCert.at(-1), ['app', 'cert', `the certificate expires: ${own.certPath}`]);
  assert.match(JSON.stringify(said(12)), new RegExp(`the certificate has expired: ${own.certPath}`));
  stop();
  assert.deepEqual(said(2), []);
});
