/** Full TLS handshakes as load: wrk and h2load resume their sessions, `openssl s_time -new` never does. */
import { fileURLToPath } from 'node:url';
import { runToEnd } from '../../test/support/child.ts';
import type { LoadCounts, Work } from './load.ts';

/** With its own defaults, OpenSSL 3.5 asks for a hybrid key exchange that not every server knows. */
const OPENSSL_CONF = fileURLToPath(new URL('handshakes.cnf', import.meta.url));

/**
 * runHandshakes runs one s_time per connection; each opens connection after connection, with one request on each. An answer
 * without bytes counts as an error.
 */
export async function runHandshakes(port: number, work: Work, durationSec: number): Promise<LoadCounts> {
  const started = performance.now();
  const counts = await Promise.all(
    Array.from({ length: work.connections }, () => handshakesOfOne(port, work.path, durationSec)),
  );
  const sumOf = (name: 'requests' | 'errors') => counts.reduce((sum, each) => sum + each[name], 0);
  return {
    requests: sumOf('requests'),
    errors: sumOf('errors'),
    ...{ badStatus: 0, timeouts: 0 },
    durationSec: (performance.now() - started) / 1_000,
  };
}

async function handshakesOfOne(port: number, path: string, durationSec: number) {
  // s_time itself asks in HTTP/1.0 and without Host. It writes this between `GET ` and ` HTTP/1.0`.
  const target = `${path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nX-Rest:`;
  const words = [
    's_time',
    '-new',
    '-connect',
    `127.0.0.1:${port}`,
    '-www',
    target,
    '-time',
    String(durationSec),
  ];
  const { code, stdout, stderr } = await runToEnd('openssl', words, {
    env: { OPENSSL_CONF },
    timeoutMs: (durationSec + 15) * 1_000,
  });
  // It ends at its first failed connection, with code 1.
  const [, count = '0', bytesEach = '0'] =
    /(\d+) connections in \d+ real seconds, (\d+) bytes/.exec(stdout.join('\n')) ?? [];
  if (code !== 0 && count === '0') throw new Error(`openssl s_time failed (${code}): ${stderr.join('\n')}`);
  const requests = Number(bytesEach) > 0 ? Number(count) : 0;
  return { requests, errors: Number(count) - requests + (code === 0 ? 0 : 1) };
}
