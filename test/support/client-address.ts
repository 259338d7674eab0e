/** clientAddress gives client n (0 to 2^24 - 1) an address of its own: 10.x.y.z. */
export function clientAddress(n: number): string {
  return `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`;
}
