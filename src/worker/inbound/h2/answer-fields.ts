/** The fields of an answer as HTTP/2 has them, from lines of HTTP/1.1. */
import type { OutgoingHttpHeaders } from 'node:http2';
import * as names from '../../../http1/header-names.ts';

/**
 * answerFields lists name and value in turn, `:status` first.
 * @param lines as ResponseStart.lines
 * @param contentLength -1: none is sent
 */
export function answerFields(status: number, lines: string, contentLength: number): string[] {
  const fields = [':status', String(status)];
  for (let at = 0; at < lines.length; ) {
    const colon = lines.indexOf(':', at);
    const end = lines.indexOf('\r', colon);
    const name = lowerCase(lines.slice(at, colon));
    if (!isOfConnection(name)) fields.push(name, lines.slice(colon + 2, end));
    at = end + 2;
  }
  if (contentLength >= 0) fields.push('content-length', String(contentLength));
  return fields;
}

/** fieldObject is for the calls of node:http2 that take no list: several values of one name become an array. */
export function fieldObject(fields: readonly string[]): OutgoingHttpHeaders {
  const object: Record<string, string | string[]> = Object.create(null);
  for (let i = 0; i < fields.length; i += 2) {
    const name = lowerCase(fields[i]!);
    const before = object[name];
    object[name] = before === undefined ? fields[i + 1]! : [before, fields[i + 1]!].flat();
  }
  return object;
}

/** Names in lower case by the spelling that came: backends use the same few. */
const LOWER = new Map<string, string>();
const LOWER_MAX = 1_000;

function lowerCase(name: string): string {
  let lower = LOWER.get(name);
  if (lower === undefined) {
    lower = name.toLowerCase();
    if (LOWER.size < LOWER_MAX) LOWER.set(name, lower);
  }
  return lower;
}

/** HTTP/2 has no fields of a connection (RFC 9113 §8.2.2), and node:http2 throws on them. Most were dropped with the backend's head. */
function isOfConnection(lowerName: string): boolean {
  switch (names.CLASSES.get(lowerName)) {
    case names.CONNECTION:
    case names.KEEP_ALIVE:
    case names.PROXY_CONNECTION:
    case names.TRANSFER_ENCODING:
    case names.UPGRADE:
    case names.TE:
      return true;
    default:
      return lowerName === 'http2-settings';
  }
}
