/** Reads files that the configuration names, and the configuration itself. */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { systemCodeOf, toError } from '../contract/errors.ts';
import type { Parsed } from './schema/addresses.ts';

/** Larger than any file written by hand; bounds the cost of a wrong path. */
const MAX_FILE_BYTES = 1024 * 1024;

/** readText reads a whole file of UTF-8 text, or says in one sentence why it cannot. */
export function readText(path: string): Parsed<string> {
  try {
    const bytes = readBounded(path);
    if (bytes.length > MAX_FILE_BYTES) return { message: `the file is larger than ${MAX_FILE_BYTES} bytes` };
    return { value: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch (thrown) {
    const message = READ_FAILURES[systemCodeOf(thrown) ?? ''];
    return { message: message ?? `the file cannot be read: ${toError(thrown).message}` };
  }
}

/** digestOf tells one text from another where the text, which may hold secrets, must not be kept. */
export function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** readFileSync would read a device or a pipe without end. */
function readBounded(path: string): Buffer {
  const buffer = Buffer.alloc(MAX_FILE_BYTES + 1);
  const file = openSync(path, 'r');
  try {
    let length = 0;
    while (length < buffer.length) {
      const count = readSync(file, buffer, length, buffer.length - length, null);
      if (count === 0) break;
      length += count;
    }
    return buffer.subarray(0, length);
  } finally {
    closeSync(file);
  }
}

const READ_FAILURES: Readonly<Record<string, string>> = {
  ENOENT: 'the file does not exist',
  ENOTDIR: 'the file does not exist',
  EISDIR: 'is a folder, not a file',
  EACCES: 'the file may not be read by this user',
  EPERM: 'the file may not be read by this user',
  ERR_ENCODING_INVALID_ENCODED_DATA: 'the file is not UTF-8 text',
};
