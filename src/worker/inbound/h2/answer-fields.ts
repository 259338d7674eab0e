/** The fields of an answer as HTTP/2 has them, from lines of HTTP/1.1. The encoder makes the names lower case. */
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
