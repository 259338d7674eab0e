/** Slots and refusals of a Redis Cluster, for callers that do not load ioredis. */

const SLOT_MASK = 0x3fff;
const POLYNOMIAL = 0x1021;

const CRC_TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) === 0 ? crc << 1 : (crc << 1) ^ POLYNOMIAL;
  return crc;
});

/**
 * slotOfTag is the hash slot of a key, 0…16383: the CRC16 (XMODEM) of its hash tag, the text between its braces.
 *
 * @param tag ASCII characters
 */
export function slotOfTag(tag: string): number {
  let crc = 0;
  for (let i = 0; i < tag.length; i++) {
    const byte = ((crc >> 8) ^ tag.charCodeAt(i)) & 0xff;
    crc = ((crc << 8) ^ (CRC_TABLE[byte] ?? 0)) & 0xffff;
  }
  return crc & SLOT_MASK;
}

/** isTryAgain recognises the refusal of a call whose keys are not all on the node. Nothing of the call was run. */
export function isTryAgain(thrown: unknown): boolean {
  return thrown instanceof Error && thrown.message.startsWith('TRYAGAIN');
}
