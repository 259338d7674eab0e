import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chartOf } from '../../bench/chart.ts';
import type { PeersResult } from '../../bench/rig/results.ts';

test('a bar of the chart is the median CPU time that the table shows', () => {
  const rounds = [
    { cpuUs: 30, userUs: 10, systemUs: 20 },
    { cpuUs: 31, userUs: 21, systemUs: 10 },
    { cpuUs: 50, userUs: 20, systemUs: 30 },
  ];
  const rows = [{ label: 'sluice', problem: '', rounds }];
  const matchups = [{ name: 'tiny', title: 'Tiny GET', load: '', rows }];
  const chart = chartOf({ matchups } as unknown as PeersResult);
  // The medians of user and system time add up to 40.
  assert.match(chart, />31\.0<\/text>/);
});
