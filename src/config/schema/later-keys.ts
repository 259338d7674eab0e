/** Keys and values of features to come. A file may have them only where they ask for what this version does anyway. */
import type { Finding, KeyPath } from '../problems.ts';
import { isMapping } from './schema-walk.ts';

const NOT_SUPPORTED = 'not supported in this version';

interface LaterKey {
  /** `[]` stands for each item of a list, `*` for each key of a mapping. */
  path: string;
  meaning: string;
  accepts?: readonly unknown[];
}

export const LATER_KEYS: readonly LaterKey[] = [
  { path: 'listen[].tls', meaning: 'Certificates, to serve HTTPS' },
  { path: 'listen[].http2', meaning: 'HTTP/2 at this address', accepts: [false] },
  { path: 'listen[].proxyProtocol', meaning: 'PROXY protocol, versions 1 and 2', accepts: [false] },
  { path: 'pools.*.hashOn', meaning: 'What `consistent_hash` looks at' },
  { path: 'pools.*.outlier', meaning: 'Ejection of backends that fail live traffic' },
  { path: 'pools.*.panicThresholdPercent', meaning: 'Use all backends when too few are up', accepts: [0] },
  {
    path: 'pools.*.slowStart',
    meaning: 'Less traffic for a backend that has just come up',
    accepts: [0, '0s'],
  },
  { path: 'pools.*.sticky', meaning: 'Sessions by cookie' },
  { path: 'pools.*.retry', meaning: 'Retries after more than failed connections' },
  { path: 'pools.*.limits', meaning: 'Concurrency per backend, and a queue' },
  { path: 'pools.*.tls', meaning: 'TLS towards the backends' },
  { path: 'pools.*.discovery', meaning: 'Backends from DNS' },
  { path: 'routes[].match.headers', meaning: 'Header fields that must have a value' },
  { path: 'routes[].split', meaning: 'Several pools by weight' },
  { path: 'routes[].mirror', meaning: 'A copy of the traffic to another pool' },
  { path: 'timeouts.tunnelIdle', meaning: 'Silence of a tunnel in both directions' },
  { path: 'overload', meaning: 'Shedding by event-loop delay and heap' },
  { path: 'secrets.cookies', meaning: 'Secret that signs sticky cookies' },
  { path: 'audit.adminChanges', meaning: 'A row in PostgreSQL per admin write', accepts: [false] },
  { path: 'audit.requests', meaning: 'Rows in PostgreSQL about requests', accepts: ['off'] },
];

export const LATER_VALUES: readonly { path: string; values: readonly unknown[] }[] = [
  { path: 'pools.*.balance', values: ['consistent_hash', 'random', 'ewma'] },
  { path: 'pools.*.backends[].weight', values: [0] },
];

/** takeLaterKeys removes them from a parsed file, and finds those that this version does not accept. */
export function takeLaterKeys(file: unknown): Finding[] {
  const findings: Finding[] = [];
  for (const { path, accepts = [] } of LATER_KEYS) {
    for (const { mapping, key, at } of placesOf(file, partsOf(path))) {
      const value = mapping[key];
      delete mapping[key];
      if (value !== undefined && !accepts.includes(value))
        findings.push({ path: at, message: NOT_SUPPORTED });
    }
  }
  for (const { path, values } of LATER_VALUES) {
    for (const { mapping, key, at } of placesOf(file, partsOf(path))) {
      const value = mapping[key];
      if (!values.includes(value)) continue;
      delete mapping[key];
      findings.push({ path: at, message: `${String(value)} is ${NOT_SUPPORTED}` });
    }
  }
  return findings;
}

function partsOf(path: string): string[] {
  return path.replaceAll('[]', '.[]').split('.');
}

interface Place {
  mapping: Record<string, unknown>;
  key: string;
  at: KeyPath;
}

function* placesOf(value: unknown, [part = '', ...rest]: string[], path: KeyPath = []): Generator<Place> {
  if (Array.isArray(value) && part === '[]') {
    for (const [index, item] of value.entries()) yield* placesOf(item, rest, [...path, index]);
  }
  if (!isMapping(value)) return;
  for (const key of part === '*' ? Object.keys(value) : [part]) {
    if (!(key in value)) continue;
    const at = [...path, key];
    if (rest.length === 0) yield { mapping: value, key, at };
    else yield* placesOf(value[key], rest, at);
  }
}
