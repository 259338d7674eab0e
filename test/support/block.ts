/** block keeps the event loop busy, as a stall does: nothing else of this process runs meanwhile. */
export function block(ms: number): void {
  const endMs = performance.now() + ms;
  while (performance.now() < endMs);
}
