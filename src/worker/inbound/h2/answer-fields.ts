/** The fields of an answer as HTTP/2 has them, from lines of HTTP/1.1. node:http2 makes the names lower case. */
import type { OutgoingHttpHeaders } from 'node:http2';
import { pushFields } from '../../../http1/field-lines.ts';

/**
 * answerFields lists name and value in turn, `:status` first.
 * @param lines as ResponseStart.lines
 * @param contentLength -1: none is sent
 */
export function answerFields(status: number, lines: string, contentLength: number): string[] {
  const fields = [':status', String(status)];
  pushFields(fields, lines);
  if (contentLength >= 0) fields.push('content-length', String(contentLength));
  return fields;
}

/** fieldObject is for the calls of node:http2 that take no list: several values of one name become an array. */
export function fieldObject(fields: readonly string[]): OutgoingHttpHeaders {
  const object: Record<string, string | string[]> = Object.create(null);
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase();
    const before = object[name];
    object[name] = before === undefined ? fields[i + 1]! : [before, fields[i + 1]!].flat();
  }
  return object;
}
