/** Reads heads of requests with RequestHeadReader alone. */
import assert from 'node:assert/strict';
import type { RequestHead } from '../../src/contract/request-head.ts';
import { HEAD_MALFORMED } from '../../src/http1/head-reader.ts';
import { RequestHeadReader } from '../../src/http1/request-head-reader.ts';

export const LIMITS = { targetBytes: 16_384, headerBytes: 16_384 };

/** readHead reads a head in the middle of a buffer with other bytes. */
export function readHead(text: string, limits = LIMITS): { end: number; reader: RequestHeadReader } {
  const reader = new RequestHeadReader();
  const buffer = Buffer.from(`\r\n\r\n${text}\r\n\r\nX: y\r\n\r\n`, 'latin1');
  const end = reader.read(buffer, 4, 4 + text.length, limits);
  return { end: end < 0 ? end : end - 4, reader };
}

export function headOf(text: string): RequestHead {
  const { end, reader } = readHead(text);
  assert.equal(end, text.length, `${JSON.stringify(text.slice(0, 200))}: ${reader.problem}`);
  return reader.head;
}

export const withFields = (...fields: string[]) =>
  headOf(`GET / HTTP/1.1\r\n${fields.map((field) => `${field}\r\n`).join('')}\r\n`);

/** @param status of the refusal; 0: the head is valid */
export function assertStatus(text: string, status: number): void {
  const { end, reader } = readHead(text);
  const shown = JSON.stringify(text.slice(0, 200));
  assert.equal(end, status === 0 ? text.length : HEAD_MALFORMED, shown);
  if (status === 0) return;
  assert.equal(reader.problemStatus, status, shown);
  assert.notEqual(reader.problem, '', shown);
}
