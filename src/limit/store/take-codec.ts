/** The arguments and replies of lua/take-tokens-n.lua: little-endian doubles, in the order that its header gives. */
import type { TakeReply, TakeRequest } from '../../contract/buckets.ts';
import { LbError } from '../../contract/errors.ts';

const TAKE_BYTES = 88;
const REPLY_BYTES = 56;

/** packTakes makes the script's second argument. V8 compiles a DataView to plain stores: a seventh of writeDoubleLE's time. */
export function packTakes(takes: readonly TakeRequest[]): Buffer {
  const packed = Buffer.allocUnsafe(takes.length * TAKE_BYTES);
  const view = new DataView(packed.buffer, packed.byteOffset, packed.length);
  let at = 0;
  for (const take of takes) {
    view.setFloat64(at, take.capacity, true);
    view.setFloat64(at + 8, take.rateMicro, true);
    view.setFloat64(at + 16, take.versionUs, true);
    view.setFloat64(at + 24, take.need, true);
    view.setFloat64(at + 32, take.partial ? 1 : 0, true);
    view.setFloat64(at + 40, take.ahead, true);
    view.setFloat64(at + 48, take.ret, true);
    view.setFloat64(at + 56, take.spent, true);
    view.setFloat64(at + 64, take.retEpoch, true);
    view.setFloat64(at + 72, take.refund, true);
    view.setFloat64(at + 80, take.refundEpoch, true);
    at += TAKE_BYTES;
  }
  return packed;
}

/** unpackReply reads one element of the script's reply; whatever the script never sends is an error. */
export function unpackReply(packed: unknown): TakeReply | Error {
  if (!Buffer.isBuffer(packed) || packed.length !== REPLY_BYTES) {
    if (Buffer.isBuffer(packed) && packed.length === 0)
      return new LbError('bucket_unreadable', "the bucket's key holds something other than a string");
    return new LbError('store_unavailable', 'Redis sent a reply that the script never gives');
  }
  const view = new DataView(packed.buffer, packed.byteOffset, REPLY_BYTES);
  return {
    granted: view.getFloat64(0, true),
    ahead: view.getFloat64(8, true),
    levelMicro: view.getFloat64(16, true),
    epoch: view.getFloat64(24, true),
    versionUs: view.getFloat64(32, true),
    capacity: view.getFloat64(40, true),
    rateMicro: view.getFloat64(48, true),
  };
}
