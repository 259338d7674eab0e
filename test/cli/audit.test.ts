/** `sluice audit` against an admin port whose audit has more than a page. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AdminParts } from '../../src/primary/admin/parts.ts';
import { startAdmin } from '../primary/admin/harness.ts';
import { runSluice } from '../support/run-sluice.ts';

const ENTRIES = 1_500;
const entryOf = (number: number) => ({
  ...{ at: '2026-01-02T14:03:00.000Z', instance: 'one', number, kind: 'reload', severity: 'info' },
  ...{ text: `reload ${number}`, subject: null, actor: null, data: {} },
});

/** As the port writes the place of an entry. */
const placeOf = (number: number) => Buffer.from(`1 ${number} one`).toString('base64url');

/** Numbers fall from ENTRIES to 1. */
const audit = {
  requests: { page: async () => ({ items: [], next: null }) },
  whenWritten: async () => undefined,
  events: {
    page: async ({ limit, after }: { limit: number; after: { number: number } | null }) => {
      const first = (after?.number ?? ENTRIES + 1) - 1;
      const items = Array.from({ length: Math.min(limit, first) }, (_, at) => entryOf(first - at));
      const last = first - items.length + 1;
      return { items, next: last > 1 ? { atUs: 1, number: last, instance: 'one' } : null };
    },
  },
} as unknown as AdminParts['audit'];

test('audit goes over pages, prints JSON as one array, and says where the next call goes on', async (t) => {
  const { url } = await startAdmin(t, { audit });
  const run = (...words: string[]) => runSluice(t, ['audit', '--admin', url, ...words]);
  const [table, many, all, none] = await Promise.all([
    run('--limit', '2'),
    run('--limit', '1200', '--json'),
    run('--limit', '9999', '--after', placeOf(3), '--json'),
    run('--limit', '0'),
  ]);
  assert.deepEqual(
    table.out.split('\n').map((line) => line.split(/ {2,}/).at(-1)),
    ['WHAT', 'reload 1500', 'reload 1499'],
  );
  assert.equal(table.err, `sluice: there are older ones: --after ${placeOf(1499)}`);
  const entries = JSON.parse(many.out) as { number: number }[];
  assert.deepEqual([entries.length, entries.at(-1)?.number], [1_200, 301]);
  assert.equal(many.err, `sluice: there are older ones: --after ${placeOf(301)}`);
  assert.deepEqual([JSON.parse(all.out), all.err], [[entryOf(2), entryOf(1)], '']);
  assert.deepEqual([none.code, none.out], [2, '']);
});

test('where no requests are kept, audit says so; and a filter of requests is refused beside one of events', async (t) => {
  const { url, parts } = await startAdmin(t, { audit });
  const run = (...words: string[]) => runSluice(t, ['audit', '--admin', url, ...words]);
  const off = await run('--requests');
  assert.deepEqual(off, {
    ...{ code: 0, out: 'no requests in the audit' },
    err: 'sluice: no requests are kept: audit.requests is off',
  });
  parts.settings = { ...parts.settings, audit: { ...parts.settings.audit, requests: 'all' } };
  const on = await run('--client', 'acme', '--json');
  assert.deepEqual([on.code, on.out, on.err], [0, '[]', '']);
  const mixed = await run('--kind', 'admin', '--client', 'acme');
  assert.equal(mixed.code, 2);
  assert.match(mixed.err, /^sluice: option '--client <client>' cannot be used with option '--kind <kind>'\n/);
});
