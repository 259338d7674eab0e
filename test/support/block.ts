/** block keeps the event loop busy: nothing else of this process runs meanwhile. */
export function block(ms: number): void {
  const endMs = performance.now() + ms;
  while (performance.now() < endMs);
}
