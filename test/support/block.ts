/** block keeps the event loop busy, so that nothing else in this process runs. */
export function block(ms: number): void {
  const endMs = performance.now() + ms;
  while (performance.now() < endMs);
}
