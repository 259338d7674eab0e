/** Bodies that go to a session and come back. */
import { OK, type StreamOwner } from './session-scene.ts';

/** Around the sizes of what is copied, of frames and of windows. */
export const BODY_SIZES = [
  ...[0, 1, ...[1_024, 16_375, 16_384, 65_536].flatMap((size) => [size - 1, size, size + 1])],
  ...[1 << 20, 1 << 23],
];

/** echo sends back what comes, as fast as it leaves. */
export function echo(request: StreamOwner): void {
  const { stream } = request;
  stream.sendFields([...OK, 'x-of', 'us'], false);
  request.onPiece = (piece) => {
    if (stream.write(piece.length < 1024 ? Buffer.from(piece) : piece)) return;
    stream.pause();
    request.onDrained = () => stream.resume();
  };
  request.onAny = (event) => {
    if (event === 'end') stream.end(request.fields[0] ?? []);
  };
  stream.resume();
}
