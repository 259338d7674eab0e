/** Frames of WebSockets (RFC 6455 §5.2), byte by byte. */
import assert from 'node:assert/strict';

/** wsFrame makes a frame; masked, as clients must, with this byte four times. @param opcode with the FIN bit: 0x81 text, 0x88 close */
export function wsFrame(opcode: number, payload: Buffer | string, maskByte: number | null = null): Buffer {
  const bytes = typeof payload === 'string' ? Buffer.from(payload, 'latin1') : payload;
  const [short, fieldBytes] =
    bytes.length < 126 ? [bytes.length, 0] : bytes.length < 65_536 ? [126, 2] : [127, 6];
  const length = Buffer.alloc(fieldBytes === 6 ? 8 : fieldBytes);
  if (fieldBytes > 0) length.writeUIntBE(bytes.length, length.length - fieldBytes, fieldBytes);
  const head = Buffer.from([opcode, short | (maskByte === null ? 0 : 0x80)]);
  if (maskByte === null) return Buffer.concat([head, length, bytes]);
  return Buffer.concat([head, length, Buffer.alloc(4, maskByte), bytes.map((byte) => byte ^ maskByte)]);
}

/** unmasked reads one masked frame of at most 125 bytes. */
export function unmasked(text: string): { opcode: number; payload: string } {
  const [opcode = 0, second = 0, ...rest] = Buffer.from(text, 'latin1');
  assert.equal(second & 0x80, 0x80, 'frames to the backend are masked');
  const payload = rest.slice(4).map((byte, i) => byte ^ (rest[i % 4] ?? 0));
  return { opcode, payload: String.fromCharCode(...payload) };
}
