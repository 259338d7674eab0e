/** Application lines are at most 4,000 bytes long: longer ones could mix with lines of other processes on a pipe. */
import { LINE_BYTES, UTF8_BYTES } from './line-sink.ts';

/** A list may have one item where a text may have so many characters. */
const CHARACTERS_PER_ITEM = 32;

/** boundedLine returns a JSON line as it is, or with its long texts (stacks) and lists cut until it fits. For makeLogger. */
export function boundedLine(line: string): string {
  if (line.length * UTF8_BYTES <= LINE_BYTES || Buffer.byteLength(line) <= LINE_BYTES) return line;
  const event: unknown = JSON.parse(line);
  let cut = line;
  for (let room = LINE_BYTES / 2; room >= 1 && Buffer.byteLength(cut) > LINE_BYTES; room /= 2) {
    cut = `${JSON.stringify(event, (_key, value) => cutValue(value, room))}\n`;
  }
  return cut;
}

function cutValue(value: unknown, room: number): unknown {
  if (typeof value === 'string' && value.length > room) return `${value.slice(0, room)}…`;
  const items = room / CHARACTERS_PER_ITEM;
  return Array.isArray(value) && value.length > items ? [...value.slice(0, items), '…'] : value;
}
