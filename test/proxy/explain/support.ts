/** Asks a proxy of a test to explain requests. */
import type { Explanation } from '../../../src/contract/explain.ts';
import type { TestProxy } from '../support.ts';

export function explain(
  proxy: TestProxy,
  head: string,
  more: { peer?: string; scheme?: 'http' | 'https' } = {},
): Explanation {
  return proxy.handler.explain({ head, scheme: 'http', peer: '127.0.0.1', ...more });
}

/** An HTTP/1.1 head. */
export const headOf = (start: string, ...lines: string[]): string =>
  `${start} HTTP/1.1\r\n${['Host: www.example.com', ...lines].map((line) => `${line}\r\n`).join('')}\r\n`;
