/** Whether our decoder and our rules say of a request what nghttp2 says. */
import assert from 'node:assert/strict';
import { requestProblem } from '../../src/http2/field-rules.ts';
import { Http2Error } from '../../src/http2/frames.ts';
import { HpackDecoder } from '../../src/http2/hpack-decoder.ts';
import { Nghttp2Server } from './nghttp2.ts';

/** 'stricter': a field has bytes that no field may have; nghttp2 drops the field, we refuse the request. */
export type Outcome = 'accepted' | 'malformed' | 'stricter' | 'broken';

/** Agreement is a connection to nghttp2, and our decoder of the same blocks. */
export class Agreement {
  readonly counts: Record<Outcome, number> = { accepted: 0, malformed: 0, stricter: 0, broken: 0 };
  #server = new Nghttp2Server();
  #decoder = new HpackDecoder({ maxFields: 10_000, maxListBytes: 1_000_000 });

  /** judge fails if we accept or refuse another request than nghttp2 does, or read another one. */
  async judge(block: Buffer, ends: boolean): Promise<Outcome> {
    const outcome = await this.#compare(block, ends);
    this.counts[outcome]++;
    if (outcome === 'broken' || this.#server.isWorn) this.renew();
    return outcome;
  }

  /** renew begins a connection. */
  renew(): void {
    this.#server.close();
    this.#server = new Nghttp2Server();
    this.#decoder = new HpackDecoder({ maxFields: 10_000, maxListBytes: 1_000_000 });
  }

  close(): void {
    this.#server.close();
  }

  async #compare(block: Buffer, ends: boolean): Promise<Outcome> {
    const verdict = await this.#server.judge(block, ends);
    const fields = this.#read(block);
    if (verdict === 'broken') {
      assert.equal(fields, null, 'we read what nghttp2 cannot read');
      return 'broken';
    }
    assert.ok(fields !== null, `we cannot read what nghttp2 reads: ${JSON.stringify(verdict)}`);
    const problem = this.#decoder.isMalformed ? 'bytes' : requestProblem(fields, ends);
    if (verdict === 'reset') {
      assert.ok(problem !== null, `we accept what nghttp2 refuses: ${JSON.stringify(fields)}`);
      return 'malformed';
    }
    if (problem !== null && verdict.fields.length < fields.length) return 'stricter';
    assert.equal(problem, null, `we refuse what nghttp2 accepts: ${JSON.stringify(fields)}`);
    assert.deepEqual(fields, verdict.fields);
    return 'accepted';
  }

  #read(block: Buffer): string[] | null {
    try {
      const fields = this.#decoder.decode(block, 0, block.length);
      return fields ?? assert.fail('above the limits');
    } catch (error) {
      if (error instanceof Http2Error) return null;
      throw error;
    }
  }
}
