/** How takes and replies cross the wire to lua/take-tokens-n.lua: little-endian doubles, in the order of its header. */
import type { TakeReply, TakeRequest } from '../contract/buckets.ts';
import { LbError } from '../contract/errors.ts';

const DOUBLE_BYTES = 8;
const TAKE_DOUBLES = 11;
const REPLY_BYTES = 8 * DOUBLE_BYTES;

/** packTakes is the script's second argument. */
export function packTakes(takes: readonly TakeRequest[]): Buffer {
  const packed = Buffer.allocUnsafe(takes.length * TAKE_DOUBLES * DOUBLE_BYTES);
  let at = 0;
  const put = (value: number): void => {
    at = packed.writeDoubleLE(value, at);
  };
  for (const take of takes) {
    put(take.capacity);
    put(take.rateMicro);
    put(take.versionUs);
    put(take.need);
    put(take.partial ? 1 : 0);
    put(take.ahead);
    put(take.ret);
    put(take.spent);
    put(take.retEpoch);
    put(take.refund);
    put(take.refundEpoch);
  }
  return packed;
}

/** unpackReply reads one element of the script's reply; whatever the script never gives is an error. */
export function unpackReply(packed: unknown): TakeReply | Error {
  if (!Buffer.isBuffer(packed) || packed.length !== REPLY_BYTES) {
    const wrongType = Buffer.isBuffer(packed) && packed.length === 0;
    const message = wrongType
      ? 'the key of a bucket holds something else'
      : 'Redis gave no reply of the script';
    return new LbError('store_unavailable', message);
  }
  const reply = {
    granted: packed.readDoubleLE(0),
    ahead: packed.readDoubleLE(8),
    levelMicro: packed.readDoubleLE(16),
    retryUs: packed.readDoubleLE(24),
    epoch: packed.readDoubleLE(32),
    versionUs: packed.readDoubleLE(40),
    capacity: packed.readDoubleLE(48),
    rateMicro: packed.readDoubleLE(56),
  };
  return reply;
}
