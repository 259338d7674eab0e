/**
 * Heads that node has parsed, as the proxy wants them: written out again and read by our own reader, so that there is one
 * place where a head becomes facts. What llhttp let through and our reader does not is refused here.
 */
import type { IncomingMessage } from 'node:http';
import type { RequestHead } from '../../../contract/request-head.ts';
import { RequestHeadReader } from '../../../http1/request-head.ts';

/** NodeHeads belongs to a server. */
export class NodeHeads {
  readonly #reader = new RequestHeadReader();

  /** What a refused head deserves. */
  get problemStatus(): number {
    return this.#reader.problemStatus;
  }

  /** headOf returns null for a head that is to be refused. */
  headOf({ method, url, httpVersion, rawHeaders }: IncomingMessage): RequestHead | null {
    let text = `${method} ${url} HTTP/${httpVersion}\r\n`;
    for (let i = 0; i < rawHeaders.length; i += 2) text += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`;
    const bytes = Buffer.from(`${text}\r\n`, 'latin1');
    const reader = this.#reader;
    const end = reader.read(bytes, 0, bytes.length, bytes.length);
    const { head } = reader;
    reader.forget();
    return end === bytes.length ? head : null;
  }
}
