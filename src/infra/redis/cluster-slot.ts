/** The hash slot of a key in a Redis Cluster: CRC16 (XMODEM) of what stands between the braces. */

const SLOT_MASK = 0x3fff;
const POLYNOMIAL = 0x1021;

const CRC_TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) === 0 ? crc << 1 : (crc << 1) ^ POLYNOMIAL;
  return crc;
});

/** slotOfTag returns 0…16383 for a hash tag of ASCII characters, which the names of all buckets have. */
export function slotOfTag(tag: string): number {
  let crc = 0;
  for (let i = 0; i < tag.length; i++) {
    const byte = ((crc >> 8) ^ tag.charCodeAt(i)) & 0xff;
    crc = ((crc << 8) ^ (CRC_TABLE[byte] ?? 0)) & 0xffff;
  }
  return crc & SLOT_MASK;
}
